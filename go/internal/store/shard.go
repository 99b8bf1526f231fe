package store

import "sync"

// shard is one part of a Store: a hash table with chains and two queues, linked by block numbers
// inside the entries' headers. The lock guards all of it, and the content
// of the entries: values are copied out under it, so none is freed while somebody reads it.
type shard struct {
	mu     sync.Mutex
	arena  *arena
	table  []block // first entry of each bucket; empty when closed or if the store keeps nothing
	queues [places]queue
	ghosts ghosts

	items, gets, hits, evictions, expired int64

	_ [112]byte // to whole pairs of cache lines, so that neighbours do not slow each other down
}

func (sh *shard) open(s *Store, number int) {
	buckets, traces := len(s.arena.table)/shardCount, len(s.arena.ghosts)/shardCount
	sh.arena = s.arena
	sh.table = s.arena.table[number*buckets : (number+1)*buckets]
	sh.ghosts = s.arena.ghosts[number*traces : (number+1)*traces]
	for place := range sh.queues {
		sh.queues[place].open(s.arena, &s.ages[place][number], &s.taken[place])
	}
}

// close forgets the entries; the arena is about to free them all at once.
func (sh *shard) close() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.table, sh.ghosts, sh.items = nil, nil, 0
	for place := range sh.queues {
		sh.queues[place].forget()
	}
}

// find returns the entry under the name (key, version), or none.
func (sh *shard) find(hash uint64, key []byte, version uint64) block {
	entry := sh.findKey(hash, key)
	if entry != none && sh.arena.header(entry).version != version {
		return none
	}
	return entry
}

// findKey returns the entry of key in any version, or none. Keys are compared in full: two that
// collide lie in one chain, and neither is taken for the other.
func (sh *shard) findKey(hash uint64, key []byte) block {
	if len(sh.table) == 0 {
		return none
	}
	entry := sh.table[sh.bucket(hash)]
	for entry != none {
		h := sh.arena.header(entry)
		if int(h.keyLen) == len(key) {
			if stored := sh.arena.payload(entry); stored.equal(key) {
				return entry
			}
		}
		entry = h.chain
	}
	return none
}

// bucket scales the lower half of a hash to the table's length, which is no power of two.
func (sh *shard) bucket(hash uint64) uint32 {
	return uint32((hash & (1<<32 - 1)) * uint64(len(sh.table)) >> 32)
}

// insert makes a written entry findable, at now of Store.clock, in place of any version of its
// key.
func (sh *shard) insert(hash uint64, key []byte, entry block, now uint64) {
	h := sh.arena.header(entry)
	h.bucket, h.trace, h.place, h.uses = sh.bucket(hash), traceOf(hash), small, 0
	if old := sh.findKey(hash, key); old != none {
		// A new version is as much in demand as the one before.
		before := sh.arena.header(old)
		h.place, h.uses = before.place, before.uses
		sh.drop(old)
	} else if sh.ghosts.take(h) {
		h.place = main
	}
	h.chain = sh.table[h.bucket]
	sh.table[h.bucket] = entry
	sh.queues[h.place].push(entry, h, now)
	sh.items++
}

// drop takes an entry out of the shard and frees its blocks.
func (sh *shard) drop(entry block) {
	h := sh.arena.header(entry)
	link := &sh.table[h.bucket]
	for *link != entry {
		link = &sh.arena.header(*link).chain
	}
	*link = h.chain
	sh.queues[h.place].detach(h)
	sh.items--
	sh.arena.release(entry)
}

// evict drops the oldest entry of a queue. One that was used while it waited there goes on to the
// end of the main queue instead, if it may be spared. It tells whether an entry was dropped.
func (sh *shard) evict(from place, now uint64, spare bool) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	entry := sh.queues[from].oldest
	if entry == none {
		return false
	}
	h := sh.arena.header(entry)
	if h.uses > 0 && spare {
		sh.queues[from].detach(h)
		if h.uses--; from == small {
			h.place, h.uses = main, 0
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

func (sh *shard) clear() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	clear(sh.ghosts)
	for place := range sh.queues {
		for sh.queues[place].oldest != none {
			sh.drop(sh.queues[place].oldest)
		}
	}
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
