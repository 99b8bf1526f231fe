//go:build !race

package store

import "syscall"

// mapMemory returns n bytes of zeros that Go's garbage collector does not know of. They become real
// memory page by page, when they are first written.
func mapMemory(n int) ([]byte, error) {
	return syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
}

// unmapMemory gives a region of mapMemory back. That cannot fail: it is whole, and it was mapped.
func unmapMemory(region []byte) {
	_ = syscall.Munmap(region)
}
