package node

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"guillotina_groupcache/internal/coherence"
)

// What Python counts of the values that it keeps decoded: words behind the version table, which
// Python alone writes. So they can be told without asking it, also to peers.
const (
	wordHits = iota
	wordItems
	wordBytes
	decodedWords
)

// mapShared makes the memory that Python reads and writes too, and that Go's collector does not
// know: the version table, and behind it what Python counts. Pages that no version lies in take
// none.
func (n *Node) mapShared() (*coherence.Table, []uint64, error) {
	size := coherence.TableHeader + int(n.cfg.Buckets)
	memory, err := syscall.Mmap(-1, 0, (size+decodedWords)*8, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, nil, fmt.Errorf("mapping the version table of %d bytes: %w", size*8, err)
	}
	n.memory = memory
	words := unsafe.Slice((*uint64)(unsafe.Pointer(&memory[0])), size+decodedWords)
	return coherence.NewTable(words[:size:size]), words[size:], nil
}

// Table tells where the version table lies, for as long as the node is open, and how many words
// there are, those that Python counts in included.
func (n *Node) Table() (address uintptr, words int) {
	return uintptr(unsafe.Pointer(&n.memory[0])), len(n.memory) / 8
}

func (n *Node) decodedStatistics() decodedStatistics {
	return decodedStatistics{
		Hits:  atomic.LoadUint64(&n.decoded[wordHits]),
		Items: atomic.LoadUint64(&n.decoded[wordItems]),
		Bytes: atomic.LoadUint64(&n.decoded[wordBytes]),
	}
}
