package store

import "sync"

// shard is one of a Store's parts: a hash table and two queues, both linked by block numbers in the entries' headers.
// Its lock guards them and the content of its entries: values are copied out under it, so no entry is freed while it is
// read.
type shard struct {
	mu     sync.Mutex
	arena  *arena
	table  []block // first entry of each chain; empty if the store is closed or keeps nothing
	queues [queueKinds]queue
	ghosts ghosts

	items, gets, hits, evictions, expired int64

	_ [112]byte // pads a shard to whole pairs of cache lines, so that neighbours do not slow each other down
}

func (sh *shard) init(s *Store, number int) {
	chains, remembered := len(s.arena.table)/shardCount, len(s.arena.ghosts)/shardCount
	sh.arena = s.arena
	sh.table = s.arena.table[number*chains : (number+1)*chains]
	sh.ghosts = s.arena.ghosts[number*remembered : (number+1)*remembered]
	for kind := range sh.queues {
		sh.queues[kind].init(s.arena, &s.tails[kind][number], &s.blocks[kind])
	}
}

// close forgets all entries without freeing them, because the arena is about to unmap them all.
func (sh *shard) close() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.table, sh.ghosts, sh.items = nil, nil, 0
	for kind := range sh.queues {
		sh.queues[kind].reset()
	}
}

// find returns the entry of key in that version, or none.
func (sh *shard) find(hash uint64, key []byte, version uint64) block {
	entry := sh.findKey(hash, key)
	if entry != none && sh.arena.header(entry).version != version {
		return none
	}
	return entry
}

// findKey returns the entry of key in any version, or none. It compares keys in full, so keys whose hashes collide are
// different entries of one chain.
func (sh *shard) findKey(hash uint64, key []byte) block {
	if len(sh.table) == 0 {
		return none
	}
	entry := sh.table[sh.chainOf(hash)]
	for entry != none {
		h := sh.arena.header(entry)
		if int(h.keyLen) == len(key) {
			if stored := sh.arena.payload(entry); stored.equal(key) {
				return entry
			}
		}
		entry = h.nextInChain
	}
	return none
}

// chainOf scales the lower half of a hash to the length of the table, which is not a power of two.
func (sh *shard) chainOf(hash uint64) uint32 {
	return uint32((hash & (1<<32 - 1)) * uint64(len(sh.table)) >> 32)
}

// insert makes a written entry findable and drops any other version of its key. now is the time by Store.inserted.
func (sh *shard) insert(hash uint64, key []byte, entry block, now uint64) {
	h := sh.arena.header(entry)
	h.chain, h.fingerprint, h.queue, h.uses = sh.chainOf(hash), fingerprintOf(hash), small, 0
	if old := sh.findKey(hash, key); old != none {
		// A new version is as much in demand as the version before.
		before := sh.arena.header(old)
		h.queue, h.uses = before.queue, before.uses
		sh.drop(old)
	} else if sh.ghosts.take(h) {
		h.queue = main
	}
	h.nextInChain = sh.table[h.chain]
	sh.table[h.chain] = entry
	sh.queues[h.queue].push(entry, h, now)
	sh.items++
}

// drop takes an entry out of the shard and frees its blocks.
func (sh *shard) drop(entry block) {
	h := sh.arena.header(entry)
	link := &sh.table[h.chain]
	for *link != entry {
		link = &sh.arena.header(*link).nextInChain
	}
	*link = h.nextInChain
	sh.queues[h.queue].remove(h)
	sh.items--
	sh.arena.release(entry)
}

// evict drops the entry at a queue's tail and reports whether it did. If that entry was used, and mayPromote, it moves
// to the head of the main queue instead: promoted from the small queue with its uses reset, or reinserted with one use
// less.
func (sh *shard) evict(from queueKind, now uint64, mayPromote bool) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	entry := sh.queues[from].tail
	if entry == none {
		return false
	}
	h := sh.arena.header(entry)
	if h.uses > 0 && mayPromote {
		sh.queues[from].remove(h)
		if from == small {
			h.queue, h.uses = main, 0
		} else {
			h.uses--
		}
		sh.queues[main].push(entry, h, now)
		return false
	}
	if from == small {
		sh.ghosts.add(h)
	}
	sh.drop(entry)
	sh.evictions++
	return true
}

func (sh *shard) addTo(total *Stats) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	total.Items += sh.items
	total.Gets += sh.gets
	total.Hits += sh.hits
	total.Evictions += sh.evictions
	total.Expired += sh.expired
}
