package store

import (
	"bytes"
	"math"
	"sync"
	"unsafe"
)

// block is the number of a block in an arena, counted from 1, so that the zeros of new memory are an empty hash table.
// An entry is identified by its first block.
type block uint32

const none block = 0

const (
	blockSize  = 256
	linkSize   = int(unsafe.Sizeof(none))
	headerSize = int(unsafe.Sizeof(header{}))

	// blocksPerGhost is how many blocks there are for each ghost. As a ghost takes 4 bytes, a store remembers about as
	// many evicted keys as it holds entries of a kilobyte.
	blocksPerGhost = 4
	ghostSize      = 4
	// shareSize is a block's share of both tables: the head of a chain, and a part of a ghost.
	shareSize = linkSize + ghostSize/blocksPerGhost

	// maxTake is how many blocks an Add takes from the free list before it lets others have the lock.
	maxTake = 64
)

// header is the beginning of an entry's first block; key and value follow it. In the entry's other blocks only the link
// comes before them.
type header struct {
	next        block     // the link, as in every block: the entry's next block
	last        block     // the entry's last block
	nextInChain block     // the next entry of the same chain of the hash table
	newer       block     // the neighbours in the queue
	older       block     //
	chain       uint32    // index in the shard's table
	keyLen      uint32    // bytes
	valueLen    uint32    // bytes
	version     uint64    // of the key
	expires     int64     // an instant of the store's clock, or Never
	entered     uint64    // when it entered its queue, by Store.inserted
	fingerprint uint32    // of the key's hash, see ghosts
	queue       queueKind // where the entry is
	uses        uint8     // hits that count for its queue, at most maxUses
}

// arena is the memory of a Store: one anonymous mapping, which holds a hash table, the ghosts, and blocks of one size.
// An entry is a list of blocks, wherever they are free.
//
// Blocks of one size make the limit hold in real memory whatever is stored, as every free block fits every entry. The
// alternatives do not:
//   - malloc is faster to copy from, but leaves holes that it does not count. Values of 200 bytes to 200 KB took 1.2
//     times their size with one thread, and 3.6 times with 16.
//   - Size classes keep the memory of sizes that are no longer stored.
//   - A circular log has no holes, but forgets in the order of writing, not of use.
//
// The price is half a block per entry, on average, and a copy in pieces of 252 bytes. The size is a compromise:
//
//	block size                             128    256    512
//	full store, values of exactly 1 KB     86 %   79 %   66 %   of the memory is values
//	full store, mixed up to 200 KB         93 %   96 %   98 %
//	time to read 1 KB                      the same
//	time to read large values              1.5    1
type arena struct {
	region  []byte  // the mapping
	table   []block // its first part: the heads of all shards' chains, as many as there are blocks
	ghosts  []uint32
	blocks  []byte // its third part
	largest int    // blocks that one entry may take

	mu       sync.Mutex
	released block // the first of the blocks that were used and released, linked
	highest  block // blocks above this number have never been used
	total    int   // blocks
	free     int   // blocks that are not reserved
}

// newArena maps at most maxBytes bytes. With less than one block per shard an arena has no blocks at all.
func newArena(maxBytes int64) (*arena, error) {
	total := int(min(maxBytes/int64(blockSize+shareSize), math.MaxUint32))
	chains := total / shardCount * shardCount
	if chains <= 0 {
		return &arena{}, nil
	}
	ghosts := chains / shardCount / blocksPerGhost * shardCount
	tableBytes, ghostBytes := chains*linkSize, ghosts*ghostSize
	region, err := mapMemory(tableBytes + ghostBytes + total*blockSize)
	if err != nil {
		return nil, err
	}
	return &arena{
		region: region,
		table:  unsafe.Slice((*block)(unsafe.Pointer(&region[0])), chains),
		ghosts: unsafe.Slice((*uint32)(unsafe.Pointer(&region[tableBytes])), ghosts),
		blocks: region[tableBytes+ghostBytes:],
		// A third, so that a value of a quarter of the limit fits with its links and header; and lengths must fit
		// their fields.
		largest: min(total/3, math.MaxUint32/blockSize),
		total:   total,
		free:    total,
	}, nil
}

// close unmaps the memory, which must not be in use.
func (a *arena) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	unmapMemory(a.region)
	a.region, a.table, a.ghosts, a.blocks = nil, nil, nil, nil
	a.largest, a.released, a.highest, a.total, a.free = 0, none, none, 0, 0
}

// bytes returns the memory that the reserved blocks take, with their share of the tables.
func (a *arena) bytes() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int64(a.total-a.free) * int64(blockSize+shareSize)
}

// blocksFor returns how many blocks an entry takes, and whether one entry may take that many.
func (a *arena) blocksFor(keyLen, valueLen int) (n int, fits bool) {
	const room = blockSize - linkSize
	n = (headerSize - linkSize + keyLen + valueLen + room - 1) / room
	return n, n <= a.largest
}

// blocksOf returns how many blocks an entry takes.
func (a *arena) blocksOf(h *header) int {
	n, _ := a.blocksFor(int(h.keyLen), int(h.valueLen))
	return n
}

// reserve sets n free blocks aside for a write and reports whether there were as many. Because a write reserves all of
// its blocks first, concurrent writes cannot each hold some and wait for the rest.
func (a *arena) reserve(n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.free < n {
		return false
	}
	a.free -= n
	return true
}

// write makes an entry of n reserved blocks; n is what blocksFor returned.
func (a *arena) write(n int, key []byte, version uint64, value []byte, expires int64) block {
	first, last := a.take(min(n, maxTake))
	for n -= maxTake; n > 0; n -= maxTake {
		next, end := a.take(min(n, maxTake))
		*a.link(last) = next
		last = end
	}
	h := a.header(first)
	h.last, h.version, h.expires = last, version, expires
	h.keyLen, h.valueLen = uint32(len(key)), uint32(len(value))
	c := a.payload(first)
	c.write(key)
	c.write(value)
	return first
}

// take links n reserved blocks.
func (a *arena) take(n int) (first, last block) {
	a.mu.Lock()
	defer a.mu.Unlock()
	first = a.pop()
	last = first
	for range n - 1 {
		next := a.pop()
		*a.link(last) = next
		last = next
	}
	*a.link(last) = none
	return first, last
}

// pop takes a block, preferably one that was used before: a page that was never touched is not real memory yet.
func (a *arena) pop() block {
	if a.released == none {
		a.highest++
		return a.highest
	}
	b := a.released
	a.released = *a.link(b)
	return b
}

// release frees an entry's blocks. They are linked already, so that takes the same time for any number of them.
func (a *arena) release(entry block) {
	h := a.header(entry)
	n := a.blocksOf(h)
	a.mu.Lock()
	defer a.mu.Unlock()
	*a.link(h.last) = a.released
	a.released = entry
	a.free += n
}

func (a *arena) header(entry block) *header {
	return (*header)(unsafe.Pointer(&a.blocks[offset(entry)]))
}

func (a *arena) link(b block) *block {
	return (*block)(unsafe.Pointer(&a.blocks[offset(b)]))
}

// payload returns a cursor at an entry's key.
func (a *arena) payload(entry block) cursor {
	return cursor{arena: a, block: entry, offset: headerSize}
}

// value returns a cursor at an entry's value.
func (a *arena) value(entry block) cursor {
	c := a.payload(entry)
	for n := int(a.header(entry).keyLen); n > 0; {
		n -= len(c.next(n))
	}
	return c
}

func offset(b block) int { return (int(b) - 1) * blockSize }

// cursor is a position in an entry's blocks. Its methods advance it past the bytes that they handle.
type cursor struct {
	arena  *arena
	block  block
	offset int // in the block
}

func (c *cursor) write(p []byte) {
	for len(p) > 0 {
		p = p[copy(c.next(len(p)), p):]
	}
}

func (c *cursor) read(p []byte) {
	for len(p) > 0 {
		p = p[copy(p, c.next(len(p))):]
	}
}

func (c *cursor) equal(p []byte) bool {
	for len(p) > 0 {
		stored := c.next(len(p))
		if !bytes.Equal(stored, p[:len(stored)]) {
			return false
		}
		p = p[len(stored):]
	}
	return true
}

// next returns the next n bytes, or as many of them as are in one block.
func (c *cursor) next(n int) []byte {
	if c.offset == blockSize {
		c.block, c.offset = *c.arena.link(c.block), linkSize
	}
	n = min(n, blockSize-c.offset)
	begin := offset(c.block) + c.offset
	c.offset += n
	return c.arena.blocks[begin : begin+n]
}
