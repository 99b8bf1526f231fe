package store

import (
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// Never is the expiry of a value without a TTL. Every other expiry is an instant of the store's clock, in nanoseconds.
const Never int64 = math.MaxInt64

// shardCount is the number of shards, a power of two because the upper shardBits bits of a key's hash choose its shard.
const (
	shardBits  = 6
	shardCount = 1 << shardBits
)

// Store is a cache of values, bounded in bytes; see the package's documentation for what it guarantees.
//
// Order of locks: adding, then one shard's, then the arena's.
type Store struct {
	seed     maphash.Seed // random, because users choose ids and must not be able to choose ids that collide
	hashMask uint64       // all ones; tests clear bits to force collisions
	now      func() int64 // ns, the clock of every expiry
	arena    *arena
	rejected atomic.Int64

	// inserted counts the entries that were ever inserted. It is the time by which shards compare their queues' tails.
	inserted atomic.Uint64

	// adding is held for reading while an entry is written, which happens outside of the shards' locks, and for writing
	// by Close, which must not unmap the memory meanwhile.
	adding sync.RWMutex

	// tails says when, by inserted, each queue's tail entered it, or emptyQueue. The 64 of one kind are adjacent, so
	// finding the oldest of all reads 8 cache lines and takes no lock.
	tails  [queueKinds][shardCount]atomic.Uint64
	blocks [queueKinds]atomic.Int64 // in all queues of a kind
	shards [shardCount]shard

	maxSmall int64 // blocks that the small queues may take while something else can be evicted
}

// Stats says what a Store holds now, and what has happened in it since it was made.
type Stats struct {
	Bytes     int64 `json:"bytes"`     // memory taken by the entries, all bookkeeping included; at most the limit
	Items     int64 `json:"items"`     // entries held, including those that have expired and were not read since
	Gets      int64 `json:"-"`         // calls of Get, and those of GetInto whose buffer was large enough
	Hits      int64 `json:"-"`         // Gets that found their value
	Evictions int64 `json:"evictions"` // entries dropped to make room for others
	Expired   int64 `json:"expired"`   // entries dropped because a Get found them expired
	Rejected  int64 `json:"rejected"`  // Adds that found no room
}

// New returns a store that takes at most maxBytes bytes of memory, everything counted. With a limit that is 0,
// negative, or below about 16 KiB it keeps nothing.
//
// now is the clock of every expiry, in nanoseconds. It is read under a lock at every hit on a value that expires, so it
// must be cheap and must not block.
//
// The address space is reserved at once, memory is taken as the store fills up, and only Close returns it. New fails if
// the system refuses the memory.
func New(maxBytes int64, now func() int64) (*Store, error) {
	memory, err := newArena(maxBytes)
	if err != nil {
		return nil, fmt.Errorf("the system refuses %d bytes of memory: %w", maxBytes, err)
	}
	s := &Store{seed: maphash.MakeSeed(), hashMask: math.MaxUint64, now: now, arena: memory}
	s.maxSmall = int64(memory.total / smallShare)
	for i := range s.shards {
		s.shards[i].init(s, i)
	}
	return s, nil
}

// Get appends a copy of the value of key in that version to dst and counts a use. On a miss it returns dst unchanged,
// and false. It allocates only if dst lacks the capacity.
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
		dst = slices.Grow(dst, n) // outside of the shard's lock, so that nothing waits for the allocator
	}
}

// GetInto copies the value of key in that version to the beginning of buf, counts a use, and returns the value's length
// in bytes and its expiry. If that length is more than len(buf), nothing was copied or counted: the caller tries again
// with a larger buffer.
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

// Has reports whether Get would find key in that version. It counts neither a use nor a Get.
func (s *Store) Has(key []byte, version uint64) bool {
	sh, hash := s.shardOf(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	entry := sh.find(hash, key, version)
	return entry != none && !s.expired(s.arena.header(entry).expires)
}

// Add stores a copy of value under key and version, replaces any other version of key, and evicts entries until there
// is room. The value is a miss from expires on, an instant of the store's clock or [Never].
//
// It returns false and changes nothing if the value has expired already. It returns false, and counts a rejection, if
// the store is closed, if key and value take more than a third of the limit (a quarter always fits), or if concurrent
// Adds have taken all room.
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
	// No shard refers to the new entry yet, so a large one can be written while its shard is free.
	entry := s.arena.write(n, key, version, value, expires)
	sh, hash := s.shardOf(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.insert(hash, key, entry, s.inserted.Add(1))
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

// Stats adds up the shards one after the other, so its sums are exact only while the store is not in use.
func (s *Store) Stats() Stats {
	total := Stats{Bytes: s.arena.bytes(), Rejected: s.rejected.Load()}
	for i := range s.shards {
		s.shards[i].addTo(&total)
	}
	return total
}

// Close returns all memory to the system. Afterwards every Get misses and every Add is rejected.
func (s *Store) Close() {
	s.adding.Lock()
	defer s.adding.Unlock()
	for i := range s.shards {
		s.shards[i].close()
	}
	s.arena.close()
}

// makeRoom reserves n blocks and evicts entries until it can. It reports whether it could.
func (s *Store) makeRoom(n int) bool {
	for !s.arena.reserve(n) {
		if !s.evict() {
			return false
		}
	}
	return true
}

// evict drops one entry and reports whether there was any. Inside a shard the order of a queue is exact; of entries in
// different shards that were promoted between the same two insertions, the one in the lower shard counts as older.
func (s *Store) evict() bool {
	for promoted := 0; ; promoted++ {
		from, other := main, small
		if s.blocks[small].Load() > s.maxSmall {
			from, other = small, main
		}
		victim := s.oldest(from)
		if victim == nil {
			from, victim = other, s.oldest(other)
		}
		if victim == nil {
			return false
		}
		// The shard promotes the entry if it was used, or finds its queue emptied by others meanwhile: look again.
		if victim.evict(from, s.inserted.Load(), promoted < maxPromoted) {
			return true
		}
	}
}

// oldest returns the shard whose queue of that kind has the oldest tail, or nil if all are empty.
func (s *Store) oldest(kind queueKind) (found *shard) {
	first := uint64(emptyQueue)
	for i := range s.tails[kind] {
		if entered := s.tails[kind][i].Load(); entered < first {
			first, found = entered, &s.shards[i]
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
