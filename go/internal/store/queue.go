package store

import (
	"math"
	"sync/atomic"
)

// place says in which queue an entry waits to be evicted.
//
// The policy is S3-FIFO (Yang and others, "FIFO queues are all you need for cache eviction", SOSP
// 2023). What is new waits in a small queue. Who was used there by the time it is the oldest goes
// on to the main queue, all others are dropped, and only their keys are remembered for a while:
// who comes back then goes to the main queue at once. In the main queue the oldest is dropped
// unless it was used, which costs it one use. So objects that are read once, as a re-index or an
// export reads all there are, pass through a tenth of the store and leave the rest as it was; and
// a hit only counts, where the order of use would have to be changed.
type place uint8

const (
	small place = iota
	main
	places
)

const (
	// smallPart is the part of all blocks that the small queues may take while something else can be
	// evicted, 1/smallPart.
	smallPart = 10
	// maxUses is how often in a row one that was much used before is passed over.
	maxUses = 3
	// maxPassed is how many are passed over before the next one is dropped, used or not: where
	// everything is in use an Add would else walk through all there is.
	maxPassed = 128
	// never is the age of a queue without entries: younger than all others.
	never = math.MaxUint64
)

// queue is a shard's part of one queue of a Store. The shard's lock guards it.
type queue struct {
	arena  *arena
	newest block
	oldest block
	age    *atomic.Uint64 // where the Store sees when the oldest came, or never
	taken  *atomic.Int64  // blocks in all shards' parts
}

func (q *queue) open(memory *arena, age *atomic.Uint64, taken *atomic.Int64) {
	q.arena, q.age, q.taken = memory, age, taken
	q.age.Store(never)
}

// forget empties the queue, whose entries are gone.
func (q *queue) forget() {
	q.newest, q.oldest = none, none
	q.age.Store(never)
}

// push adds an entry as the newest, at now of Store.clock.
func (q *queue) push(entry block, h *header, now uint64) {
	h.added = now
	h.newer, h.older = none, q.newest
	if q.newest != none {
		q.arena.header(q.newest).newer = entry
	}
	q.newest = entry
	q.taken.Add(int64(q.arena.blocksOf(h)))
	if q.oldest == none {
		q.oldest = entry
		q.age.Store(now)
	}
}

// detach takes an entry out of the queue.
func (q *queue) detach(h *header) {
	q.taken.Add(-int64(q.arena.blocksOf(h)))
	if h.newer != none {
		q.arena.header(h.newer).older = h.older
	} else {
		q.newest = h.older
	}
	if h.older != none {
		q.arena.header(h.older).newer = h.newer
		return
	}
	q.oldest = h.newer
	if q.oldest == none {
		q.age.Store(never)
	} else {
		q.age.Store(q.arena.header(q.oldest).added)
	}
}

// ghosts remembers keys that were evicted unused, each by 32 bits of its hash in a place that
// others may take as well: so it forgets the oldest ones by and by, and takes one key in four
// billion for another, which then stays a little longer than it should.
type ghosts []uint32

// traceOf is what is remembered of a hash; 0 is nothing.
func traceOf(hash uint64) uint32 { return uint32(hash>>26) | 1 }

func (g ghosts) add(h *header) {
	if len(g) > 0 {
		g[g.at(h)] = h.trace
	}
}

// take tells whether a key is remembered, and forgets it.
func (g ghosts) take(h *header) bool {
	if len(g) == 0 || g[g.at(h)] != h.trace {
		return false
	}
	g[g.at(h)] = 0
	return true
}

func (g ghosts) at(h *header) int { return min(int(h.bucket)/blocksPerGhost, len(g)-1) }
