//go:build race

package store

// mapMemory returns memory of Go's own, because the race detector watches no other.
func mapMemory(n int) ([]byte, error) {
	return make([]byte, n), nil
}

// unmapMemory overwrites the region, so that the race detector reports any use that is not ordered before it.
func unmapMemory(region []byte) {
	clear(region)
}
