package cache

import (
	"sync"
	"sync/atomic"
)

// shard is one part of a Store: a hash table with chains and a list in the order of use, both
// linked by block numbers inside the entries' headers. The lock guards all of it, and the content
// of the entries: values are copied out under it, so none is freed while somebody reads it.
type shard struct {
	mu     sync.Mutex
	arena  *arena
	table  []block        // first entry of each bucket; empty when closed or if the store keeps nothing
	age    *atomic.Uint64 // this shard's place in Store.ages
	newest block
	oldest block

	items, gets, hits, evictions, expired int64

	_ [32]byte // to whole pairs of cache lines, so that neighbours do not slow each other down
}

func (sh *shard) open(memory *arena, number int, age *atomic.Uint64) {
	buckets := len(memory.table) / shardCount
	sh.arena, sh.age = memory, age
	sh.table = memory.table[number*buckets : (number+1)*buckets]
	sh.publishAge()
}

// close forgets the entries; the arena is about to free them all at once.
func (sh *shard) close() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.table, sh.newest, sh.oldest, sh.items = nil, none, none, 0
	sh.publishAge()
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

// insert makes a written entry findable, as the most recently used one, at now of Store.clock.
func (sh *shard) insert(hash uint64, entry block, now uint64) {
	h := sh.arena.header(entry)
	h.used = now
	h.bucket = sh.bucket(hash)
	h.chain = sh.table[h.bucket]
	sh.table[h.bucket] = entry
	sh.pushNewest(entry, h)
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
	sh.detach(entry, h)
	sh.items--
	sh.arena.release(entry)
}

// touch makes an entry the most recently used one, at now of Store.clock.
func (sh *shard) touch(entry block, now uint64) {
	h := sh.arena.header(entry)
	h.used = now
	if entry != sh.newest {
		sh.detach(entry, h)
		sh.pushNewest(entry, h)
	} else if entry == sh.oldest {
		sh.publishAge()
	}
}

// evict drops the least recently used entry, and tells whether there was one.
func (sh *shard) evict() bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.oldest == none {
		return false
	}
	sh.drop(sh.oldest)
	sh.evictions++
	return true
}

func (sh *shard) clear() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for sh.oldest != none {
		sh.drop(sh.oldest)
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

func (sh *shard) pushNewest(entry block, h *header) {
	h.newer, h.older = none, sh.newest
	if sh.newest != none {
		sh.arena.header(sh.newest).newer = entry
	}
	sh.newest = entry
	if sh.oldest == none {
		sh.oldest = entry
		sh.publishAge()
	}
}

func (sh *shard) detach(entry block, h *header) {
	if h.newer != none {
		sh.arena.header(h.newer).older = h.older
	} else {
		sh.newest = h.older
	}
	if h.older != none {
		sh.arena.header(h.older).newer = h.newer
	} else {
		sh.oldest = h.newer
		sh.publishAge()
	}
}

// publishAge shows the others when the oldest entry was last used. It is called when that entry
// has changed only, because it looks into its header, which is seldom in a processor's cache.
func (sh *shard) publishAge() {
	age := uint64(never)
	if sh.oldest != none {
		age = sh.arena.header(sh.oldest).used
	}
	sh.age.Store(age)
}
