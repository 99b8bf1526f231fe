package store

import (
	"bytes"
	"math"
	"sync"
	"unsafe"
)

// block is the number of a block in an arena, counted from 1, so that memory full of zeros, as the
// system hands it out, is an empty hash table. An entry goes by the number of its first block.
type block uint32

const none block = 0

const (
	blockSize  = 256
	linkSize   = int(unsafe.Sizeof(none))
	headerSize = int(unsafe.Sizeof(header{}))
	bucketSize = int(unsafe.Sizeof(none))

	// A shard remembers one evicted key for so many blocks, in 4 bytes: about as many keys as there
	// are entries of a kilobyte.
	blocksPerGhost = 4
	ghostSize      = 4
	// shareSize is what a block takes of both tables.
	shareSize = bucketSize + ghostSize/blocksPerGhost

	// takeAtOnce bounds for how many blocks one Add keeps the others from the free list.
	takeAtOnce = 64
)

// header is the beginning of an entry's first block; key and value follow. Of the other blocks only
// the link is used up.
type header struct {
	next     block  // the link: the entry's next block, as in every block
	last     block  // the entry's last block
	chain    block  // next entry in the same bucket
	newer    block  // neighbours in the queue
	older    block  //
	bucket   uint32 // in the shard's table
	keyLen   uint32 // bytes
	valueLen uint32 // bytes
	version  uint64 // of the key
	expires  int64  // of the Store's clock, or Never
	added    uint64 // Store.clock when it came into the queue
	trace    uint32 // of the key's hash, see ghosts
	place    place  // the queue
	uses     uint8  // since it came into the queue, at most maxUses
}

// arena is the memory of a Store: one anonymous mapping, in which a hash table and the ghosts are
// followed by blocks of one size. An entry is a chain of blocks, wherever they are free.
//
// The tension: memory in one piece an entry would be faster to copy, but entries of many sizes that
// come and go leave holes. malloc's holes are counted by nobody and grow with the number of threads
// (sizes of 200 bytes to 200 KB, real memory against what was asked for: 1.2 times with one thread,
// 3.6 with 16); size classes keep the memory of sizes that nobody stores any more; a log that is
// written round and round has no holes, but forgets in the order of writing, not of use. With blocks
// of one size every free block fits every entry, so the limit holds in real memory whatever is
// stored, and there is nothing to tune or compact. The price: on average half of a block an entry is
// empty, and a copy jumps every 252 bytes. Of a full store, values of exactly 1 KB, which end badly in
// 256, are 86 % with blocks of 128 bytes, 79 % with 256 and 66 % with 512; mixed sizes up to 200 KB
// are 93, 96 and 98 %. To read 1 KB takes the same time with all three, large values take about
// half as long again with 128 as with 256. So 256, the one in the middle.
type arena struct {
	region  []byte  // the mapping
	table   []block // its first part: all shards' buckets, as many as there are blocks
	ghosts  []uint32
	blocks  []byte // its third part
	largest int    // blocks that one entry may take

	mu    sync.Mutex
	head  block // first of the blocks that were used and released, linked
	fresh block // blocks above this number have never been used
	total int   // blocks
	free  int   // blocks not reserved
}

// newArena maps at most maxBytes bytes. An arena without one block a shard has no blocks at all.
func newArena(maxBytes int64) (*arena, error) {
	total := int(min(maxBytes/int64(blockSize+shareSize), math.MaxUint32))
	buckets := total / shardCount * shardCount
	if buckets <= 0 {
		return &arena{}, nil
	}
	ghosts := buckets / shardCount / blocksPerGhost * shardCount
	tableBytes, ghostBytes := buckets*bucketSize, ghosts*ghostSize
	region, err := mapMemory(tableBytes + ghostBytes + total*blockSize)
	if err != nil {
		return nil, err
	}
	return &arena{
		region: region,
		table:  unsafe.Slice((*block)(unsafe.Pointer(&region[0])), buckets),
		ghosts: unsafe.Slice((*uint32)(unsafe.Pointer(&region[tableBytes])), ghosts),
		blocks: region[tableBytes+ghostBytes:],
		// A third, so that a value of a quarter of the limit fits in spite of links and header;
		// and lengths must fit their fields.
		largest: min(total/3, math.MaxUint32/blockSize),
		total:   total,
		free:    total,
	}, nil
}

// close unmaps the memory. The caller sees to it that nobody uses it any more.
func (a *arena) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	unmapMemory(a.region)
	a.region, a.table, a.ghosts, a.blocks = nil, nil, nil, nil
	a.largest, a.head, a.fresh, a.total, a.free = 0, none, none, 0, 0
}

// bytes returns how much memory the reserved blocks take, each with its share of the table.
func (a *arena) bytes() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int64(a.total-a.free) * int64(blockSize+shareSize)
}

// blocksFor returns how many blocks an entry takes, and whether an entry may take as many.
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

// reserve sets n free blocks aside for a write, and tells whether there were as many. So writes
// that run at the same time cannot take blocks from each other and all get stuck half way.
func (a *arena) reserve(n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.free < n {
		return false
	}
	a.free -= n
	return true
}

// write makes an entry of n reserved blocks, which are as many as blocksFor says.
func (a *arena) write(n int, key []byte, version uint64, value []byte, expires int64) block {
	first, last := a.take(min(n, takeAtOnce))
	for n -= takeAtOnce; n > 0; n -= takeAtOnce {
		next, end := a.take(min(n, takeAtOnce))
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

// take turns n reserved blocks into a chain.
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

// pop takes blocks that were used before if it can: memory that nobody has touched costs nothing.
func (a *arena) pop() block {
	if a.head == none {
		a.fresh++
		return a.fresh
	}
	b := a.head
	a.head = *a.link(b)
	return b
}

// release frees an entry's blocks, however many they are, without walking through them.
func (a *arena) release(entry block) {
	h := a.header(entry)
	n := a.blocksOf(h)
	a.mu.Lock()
	defer a.mu.Unlock()
	*a.link(h.last) = a.head
	a.head = entry
	a.free += n
}

func (a *arena) header(entry block) *header {
	return (*header)(unsafe.Pointer(&a.blocks[offset(entry)]))
}

func (a *arena) link(b block) *block {
	return (*block)(unsafe.Pointer(&a.blocks[offset(b)]))
}

// payload is the place of an entry's key.
func (a *arena) payload(entry block) cursor {
	return cursor{arena: a, block: entry, offset: headerSize}
}

// value is the place of an entry's value.
func (a *arena) value(entry block) cursor {
	c := a.payload(entry)
	for n := int(a.header(entry).keyLen); n > 0; {
		n -= len(c.next(n))
	}
	return c
}

func offset(b block) int { return (int(b) - 1) * blockSize }

// cursor is a place in a chain of blocks. Its methods move it to the end of what they handled.
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

// next returns the next n bytes, or those of them that lie in one block.
func (c *cursor) next(n int) []byte {
	if c.offset == blockSize {
		c.block, c.offset = *c.arena.link(c.block), linkSize
	}
	n = min(n, blockSize-c.offset)
	begin := offset(c.block) + c.offset
	c.offset += n
	return c.arena.blocks[begin : begin+n]
}
