package store

import (
	"math"
	"sync/atomic"
)

// queueKind says in which of its shard's two queues an entry is. The package's documentation describes the policy.
type queueKind uint8

const (
	small queueKind = iota
	main
	queueKinds
)

const (
	// smallShare says what the small queues may take while something else can be evicted: 1/smallShare of all blocks.
	smallShare = 10
	// maxUses is the highest count of uses, and so how often in a row an entry is reinserted without further use.
	maxUses = 3
	// maxPromoted is how many entries one eviction promotes or reinserts before it drops the next one, used or not. It
	// bounds an Add where everything is in use.
	maxPromoted = 128
	// emptyQueue stands for the tail of a queue without entries. It is later than any time of Store.inserted.
	emptyQueue = math.MaxUint64
)

// queue is one of a shard's two FIFO queues, a list that is linked through the headers of its entries. The shard's lock
// guards it.
type queue struct {
	arena  *arena
	head   block         // the newest entry
	tail   block         // the oldest entry
	blocks *atomic.Int64 // in all queues of this kind
	// published is where Store.tails says when the tail entered.
	published *atomic.Uint64
}

func (q *queue) init(memory *arena, published *atomic.Uint64, blocks *atomic.Int64) {
	q.arena, q.published, q.blocks = memory, published, blocks
	q.reset()
}

// reset empties the queue without touching its entries, whose memory may be gone.
func (q *queue) reset() {
	q.head, q.tail = none, none
	q.published.Store(emptyQueue)
}

// push inserts an entry at the head. now is the time by Store.inserted.
func (q *queue) push(entry block, h *header, now uint64) {
	h.entered = now
	h.newer, h.older = none, q.head
	if q.head != none {
		q.arena.header(q.head).newer = entry
	}
	q.head = entry
	q.blocks.Add(int64(q.arena.blocksOf(h)))
	if q.tail == none {
		q.tail = entry
		q.published.Store(now)
	}
}

// remove takes an entry out of the queue, wherever in it the entry is.
func (q *queue) remove(h *header) {
	q.blocks.Add(-int64(q.arena.blocksOf(h)))
	if h.newer != none {
		q.arena.header(h.newer).older = h.older
	} else {
		q.head = h.older
	}
	if h.older != none {
		q.arena.header(h.older).newer = h.newer
		return
	}
	q.tail = h.newer
	if q.tail == none {
		q.published.Store(emptyQueue)
	} else {
		q.published.Store(q.arena.header(q.tail).entered)
	}
}

// ghosts remembers keys that were evicted from the small queue, each by a fingerprint at a fixed index. Keys of the
// same index overwrite each other, so old ghosts disappear by themselves.
type ghosts []uint32

// fingerprintOf returns the 32 bits of a hash below those that choose the shard. The lowest of them is set, because 0
// means no ghost. The lowest six choose the index too, so about one new key in 2^26 is taken for the ghost at its
// index.
func fingerprintOf(hash uint64) uint32 { return uint32(hash>>(64-shardBits-32)) | 1 }

func (g ghosts) add(h *header) {
	if len(g) > 0 {
		g[g.index(h)] = h.fingerprint
	}
}

// take reports whether a key is remembered, and forgets it.
func (g ghosts) take(h *header) bool {
	if len(g) == 0 || g[g.index(h)] != h.fingerprint {
		return false
	}
	g[g.index(h)] = 0
	return true
}

func (g ghosts) index(h *header) int { return min(int(h.chain)/blocksPerGhost, len(g)-1) }
