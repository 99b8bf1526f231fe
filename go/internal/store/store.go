// Package store keeps values in memory, bounded in bytes, under a key and a version.
package store

import (
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// Never is the expiry of a value without a ttl. Every other expiry is an instant in nanoseconds of the
// clock that [New] was given.
const Never int64 = math.MaxInt64

// shardCount is the number of locks. It is a power of two, because the upper shardBits bits of a
// key's hash say in which shard it lies.
const (
	shardBits  = 6
	shardCount = 1 << shardBits
)

// Store is a cache of values under names (a key and a version), bounded in bytes. What it forgets
// first place tells. All methods may be called at the same time from any goroutine.
//
// It holds at most one version of a key: adding another one replaces it. A superseded version is
// never asked for again (a version never comes back, see R1), so to keep it would waste room.
//
// Everything that grows with the number of entries lies in one memory mapping that Go's garbage
// collector does not look into (see arena), so a full store makes no collection longer.
//
// Locks: each shard has its own, and nobody holds two of them. A shard's lock may be held when the
// arena's is taken, never the other way round.
type Store struct {
	seed     maphash.Seed // random, because users choose ids and must not choose who collides
	hashMask uint64       // all ones; tests clear bits to force collisions
	now      func() int64 // ns, the clock of every expiry
	arena    *arena
	rejected atomic.Int64

	// clock counts Adds. It is the time by which shards compare the age of their oldest entries.
	clock atomic.Uint64

	// adding is held shared while an entry is written, which happens outside of the shards' locks,
	// and alone by Close, which must not take the memory away meanwhile.
	adding sync.RWMutex

	// ages tells when each shard's oldest entry came into the queue, or never. They lie side by side,
	// so that looking for the oldest of all reads 8 cache lines and takes no lock.
	ages   [places][shardCount]atomic.Uint64
	taken  [places]atomic.Int64 // blocks
	shards [shardCount]shard

	smallMost int64 // blocks that the small queues may take
}

// Stats tells what a Store holds now, and what happened in it since it was made.
type Stats struct {
	Bytes     int64 // memory taken by the entries, all bookkeeping included; at most the limit
	Items     int64 // entries held, those expired but not yet noticed included
	Gets      int64 // looks by Get and GetInto
	Hits      int64 // those of the Gets that found their value
	Evictions int64 // entries dropped to make room for others
	Expired   int64 // entries dropped because a Get found them expired
	Rejected  int64 // Adds that found no room
}

// New returns a store that takes at most maxBytes bytes of memory, everything counted. With a
// limit that is 0, negative, or below about 16 KiB it keeps nothing.
//
// now is the clock, in nanoseconds, of which every expiry is an instant. Every hit on a value that
// expires reads it, under a lock, so it must be cheap and wait for nothing.
//
// The address space is reserved at once, memory is taken as the store fills up, and both are given
// back by Close only. It fails if the system refuses the memory.
func New(maxBytes int64, now func() int64) (*Store, error) {
	memory, err := newArena(maxBytes)
	if err != nil {
		return nil, fmt.Errorf("the system does not give %d bytes of memory: %w", maxBytes, err)
	}
	s := &Store{seed: maphash.MakeSeed(), hashMask: math.MaxUint64, now: now, arena: memory}
	s.smallMost = int64(memory.total / smallPart)
	for i := range s.shards {
		s.shards[i].open(s, i)
	}
	return s, nil
}

// Get appends a copy of the value under the name (key, version) to dst, and counts a use. Without
// such an entry it returns dst as it was, and false. It allocates only when dst lacks the capacity.
func (s *Store) Get(key []byte, version uint64, dst []byte) (value []byte, expires int64, ok bool) {
	for {
		room := dst[len(dst):cap(dst)]
		n, expires, ok := s.GetInto(key, version, room)
		if !ok {
			return dst, 0, false
		}
		if n <= len(room) {
			return dst[:len(dst)+n], expires, true
		}
		dst = slices.Grow(dst, n) // here and not below, so that nobody waits for the allocator
	}
}

// GetInto copies the value under the name (key, version) to the beginning of buf, counts a use, and
// returns its length in bytes and the expiry that Add was told. If the length is more than len(buf),
// nothing was copied or counted, and the caller comes again with a larger buffer.
func (s *Store) GetInto(key []byte, version uint64, buf []byte) (n int, expires int64, ok bool) {
	sh, hash := s.shardOf(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	entry := sh.find(hash, key, version)
	if entry != none && s.expired(s.arena.header(entry).expires) {
		sh.drop(entry)
		sh.expired++
		entry = none
	}
	if entry == none {
		sh.gets++
		return 0, 0, false
	}
	h := s.arena.header(entry)
	n, expires = int(h.valueLen), h.expires
	if n > len(buf) {
		return n, expires, true
	}
	sh.gets++
	sh.hits++
	if h.uses < maxUses {
		h.uses++
	}
	value := s.arena.value(entry)
	value.read(buf[:n])
	return n, expires, true
}

// Has tells whether Get would find the name (key, version). It is no use of the entry.
func (s *Store) Has(key []byte, version uint64) bool {
	sh, hash := s.shardOf(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	entry := sh.find(hash, key, version)
	return entry != none && !s.expired(s.arena.header(entry).expires)
}

// Add stores a copy of value under the name (key, version), in place of any version of that key,
// and evicts others until there is room. From expires on, an instant of the store's clock or
// [Never], it is a miss.
//
// It returns false if nothing was stored: the value has expired already and would only evict others, the store is
// closed, key and value take more than a third of the limit (a quarter always fits), or all room is taken by other
// Adds under way.
func (s *Store) Add(key []byte, version uint64, value []byte, expires int64) bool {
	if s.expired(expires) {
		return false
	}
	s.adding.RLock()
	defer s.adding.RUnlock()
	n, fits := s.arena.blocksFor(len(key), len(value))
	if !fits || !s.makeRoom(n) {
		s.rejected.Add(1)
		return false
	}
	// Nobody knows the new entry yet, so a large one can be written while the shard is free.
	entry := s.arena.write(n, key, version, value, expires)
	sh, hash := s.shardOf(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.insert(hash, key, entry, s.clock.Add(1))
	return true
}

// Remove drops the entry of key, whatever its version.
func (s *Store) Remove(key []byte) {
	sh, hash := s.shardOf(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if entry := sh.findKey(hash, key); entry != none {
		sh.drop(entry)
	}
}

// Clear drops all entries that were stored before the call. Their memory is kept for new ones.
func (s *Store) Clear() {
	for i := range s.shards {
		s.shards[i].clear()
	}
}

// Stats sums up the shards one after the other, so it is exact when nothing else is going on.
func (s *Store) Stats() Stats {
	total := Stats{Bytes: s.arena.bytes(), Rejected: s.rejected.Load()}
	for i := range s.shards {
		s.shards[i].addTo(&total)
	}
	return total
}

// Close gives all memory back to the system. Afterwards every Get misses and Add stores nothing.
func (s *Store) Close() {
	s.adding.Lock()
	defer s.adding.Unlock()
	for i := range s.shards {
		s.shards[i].close()
	}
	s.arena.close()
}

// makeRoom reserves n blocks, and evicts entries until it can.
func (s *Store) makeRoom(n int) bool {
	for !s.arena.reserve(n) {
		if !s.evict() {
			return false
		}
	}
	return true
}

// evict drops one entry, and tells whether there was any. Inside a shard the order of the queues is
// exact; between shards it is so down to what came between the same two Adds.
func (s *Store) evict() bool {
	for passed := 0; ; passed++ {
		from := main
		if s.taken[small].Load() > s.smallMost {
			from = small
		}
		victim := s.oldest(from)
		if victim == nil {
			from = small + main - from
			victim = s.oldest(from)
		}
		if victim == nil {
			return false
		}
		// It may have been used, or others may have emptied that queue meanwhile: look again.
		if victim.evict(from, s.clock.Load(), passed < maxPassed) {
			return true
		}
	}
}

// oldest returns the shard whose oldest entry in a queue came there first, or nil.
func (s *Store) oldest(in place) (found *shard) {
	first := uint64(never)
	for i := range s.ages[in] {
		if age := s.ages[in][i].Load(); age < first {
			first, found = age, &s.shards[i]
		}
	}
	return found
}

func (s *Store) shardOf(key []byte) (sh *shard, hash uint64) {
	hash = maphash.Bytes(s.seed, key) & s.hashMask
	return &s.shards[hash>>(64-shardBits)], hash
}

func (s *Store) expired(expires int64) bool {
	return expires != Never && s.now() >= expires
}
