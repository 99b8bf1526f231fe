package node

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"guillotina_groupcache/internal/coherence"
)

// Words that Python alone writes, behind the version table: what it counts of its near cache. So the
// statistics, also for peers, need no call into Python.
const (
	wordNearHits = iota
	wordNearEntries
	wordNearBytes
	nearWords
)

// Memory is what Python and Go share, outside Go's heap: the version table, and behind it the words of
// the near cache. Pages of buckets without a version take no memory.
type Memory struct {
	mapped []byte
	table  *coherence.Table
	near   []uint64
}

func newMemory(buckets uint32) (*Memory, error) {
	size := coherence.TableHeader + int(buckets)
	mapped, err := syscall.Mmap(-1, 0, (size+nearWords)*8, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("mapping the version table of %d bytes: %w", size*8, err)
	}
	words := unsafe.Slice((*uint64)(unsafe.Pointer(&mapped[0])), size+nearWords)
	return &Memory{mapped, coherence.NewTable(words[:size:size]), words[size:]}, nil
}

// Words returns the address of the memory, which is valid until [Node.Close], and how many words it
// has, those of the near cache included.
func (m *Memory) Words() (address uintptr, words int) {
	return uintptr(unsafe.Pointer(&m.mapped[0])), len(m.mapped) / 8
}

func (m *Memory) nearStatistics() nearStatistics {
	return nearStatistics{
		Hits:  atomic.LoadUint64(&m.near[wordNearHits]),
		Items: atomic.LoadUint64(&m.near[wordNearEntries]),
		Bytes: atomic.LoadUint64(&m.near[wordNearBytes]),
	}
}

func (m *Memory) close() { _ = syscall.Munmap(m.mapped) }
