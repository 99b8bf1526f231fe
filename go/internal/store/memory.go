//go:build !race

package store

import "syscall"

// mapMemory returns n zero bytes that Go's garbage collector does not know of. They become real memory page by page,
// when they are first written.
func mapMemory(n int) ([]byte, error) {
	return syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
}

// unmapMemory returns a region of mapMemory to the system. It cannot fail, as the region is mapped and whole.
func unmapMemory(region []byte) {
	_ = syscall.Munmap(region)
}
