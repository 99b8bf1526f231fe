package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// model is the simplest possible Store: one list, in which the entries of each queue are in its order, searched from end
// to end. It asks the real store only how many blocks a value takes, which shard a key is in, and the index and
// fingerprint of its ghost.
type model struct {
	store     *Store
	entries   []modelEntry // oldest first
	ghosts    map[modelGhost]uint32
	promoted  int // since the last eviction
	adds      uint64
	evictions int64
	expired   int64
}

type modelEntry struct {
	key     string
	version uint64
	value   []byte
	expire  int64
	entered uint64
	shard   *shard
	blocks  int
	queue   queueKind
	uses    uint8
}

type modelGhost struct {
	shard *shard
	index int
}

func (m *model) index(key string) int {
	for i, e := range m.entries {
		if e.key == key {
			return i
		}
	}
	return -1
}

func (m *model) removeKey(key string) {
	if i := m.index(key); i >= 0 {
		m.remove(i)
	}
}

func (m *model) remove(i int) { m.entries = append(m.entries[:i], m.entries[i+1:]...) }

func (m *model) blocks() (sum int) {
	for _, e := range m.entries {
		sum += e.blocks
	}
	return sum
}

func (m *model) get(key string, version uint64, now int64) ([]byte, bool) {
	i := m.index(key)
	if i < 0 || m.entries[i].version != version {
		return nil, false
	}
	e := &m.entries[i]
	value := e.value
	if e.expire != Never && now >= e.expire {
		m.remove(i)
		m.expired++
		return nil, false
	}
	e.uses = min(e.uses+1, maxUses)
	return value, true
}

func (m *model) add(key string, version uint64, value []byte, expire, now int64) bool {
	n, fits := m.store.arena.blocksFor(len(key), len(value))
	if !fits || now >= expire {
		return false
	}
	for m.blocks()+n > m.store.arena.total {
		m.evict()
	}
	m.adds++
	e := modelEntry{key, version, value, expire, m.adds, nil, n, small, 0}
	ghost, fingerprint := m.ghost(key)
	e.shard = ghost.shard
	if i := m.index(key); i >= 0 {
		e.queue, e.uses = m.entries[i].queue, m.entries[i].uses
		m.remove(i)
	} else if m.ghosts[ghost] == fingerprint {
		e.queue = main
		delete(m.ghosts, ghost)
	}
	m.entries = append(m.entries, e)
	return true
}

// ghost returns where a key is remembered, and by which fingerprint.
func (m *model) ghost(key string) (modelGhost, uint32) {
	sh, hash := m.store.shardOf([]byte(key))
	h := &header{chain: sh.chainOf(hash)}
	return modelGhost{sh, sh.ghosts.index(h)}, fingerprintOf(hash)
}

func (m *model) evict() {
	inSmall := 0
	for _, e := range m.entries {
		if e.queue == small {
			inSmall += e.blocks
		}
	}
	from, other := main, small
	if inSmall > m.store.arena.total/10 {
		from, other = small, main
	}
	i := m.oldest(from)
	if i < 0 {
		i = m.oldest(other)
	}
	e := m.entries[i]
	m.remove(i)
	m.promoted++
	switch {
	case e.uses > 0 && m.promoted <= maxPromoted && e.queue == main:
		e.uses--
	case e.uses > 0 && m.promoted <= maxPromoted:
		e.queue, e.uses = main, 0
	default:
		if e.queue == small {
			ghost, fingerprint := m.ghost(e.key)
			m.ghosts[ghost] = fingerprint
		}
		m.evictions++
		m.promoted = 0
		return
	}
	e.entered = m.adds
	m.entries = append(m.entries, e)
}

// oldest returns the index of the first entry in the queues of a kind, or -1. Of entries that entered between the same
// two adds, one in a lower shard counts as older; inside a shard the order of the list decides.
func (m *model) oldest(kind queueKind) int {
	number := func(i int) int {
		for n := range m.store.shards {
			if m.entries[i].shard == &m.store.shards[n] {
				return n
			}
		}
		panic("no such shard")
	}
	best := -1
	for i := range m.entries {
		if m.entries[i].queue != kind {
			continue
		}
		if best < 0 || m.entries[i].entered == m.entries[best].entered && number(i) < number(best) {
			best = i
		}
	}
	return best
}

// stats returns the statistics that the model keeps.
func (m *model) stats() Stats {
	return Stats{Bytes: int64(m.blocks() * (blockSize + shareSize)), Items: int64(len(m.entries)),
		Evictions: m.evictions, Expired: m.expired}
}

// The same random operations have the same results on a store and on its model.
func TestStoreEqualsItsModel(t *testing.T) {
	for _, mask := range []uint64{^uint64(0), oneShard, oneBucket, 3<<62 | 1<<31} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("hashes of %#x, seed %d", mask, seed), func(t *testing.T) {
				compareWithModel(t, mask, rand.New(rand.NewPCG(seed, mask)))
			})
		}
	}
}

func compareWithModel(t *testing.T, mask uint64, random *rand.Rand) {
	s, clock := testStore(t, 128<<10)
	s.hashMask = mask
	m := &model{store: s, ghosts: make(map[modelGhost]uint32)}
	for step := range 5000 {
		key, version := fmt.Sprint("key ", random.IntN(100)), uint64(2*random.IntN(2))
		switch p := random.IntN(1000); {
		case p < 400:
			value, expire := pattern(step, random.IntN(1<<random.IntN(17))), Never
			if random.IntN(4) == 0 {
				expire = clock.now + random.Int64N(100)
			}
			if got, want := s.Add([]byte(key), version, value, expire), m.add(key, version, value, expire, clock.now); got != want {
				t.Fatalf("step %d: Add(%q, %d, %d bytes) = %v, want %v", step, key, version, len(value), got, want)
			}
		case p < 950:
			got, _, ok := s.Get([]byte(key), version, nil)
			want, wantOk := m.get(key, version, clock.now)
			if ok != wantOk || !bytes.Equal(got, want) {
				t.Fatalf("step %d: Get(%q, %d) = %d bytes, %v, want %d bytes, %v",
					step, key, version, len(got), ok, len(want), wantOk)
			}
		case p < 998:
			s.Remove([]byte(key))
			m.removeKey(key)
		default:
			s.Clear()
			m.entries = nil
			clear(m.ghosts)
		}
		clock.now++
		if got, want := s.Stats(), m.stats(); got.Items != want.Items || got.Bytes != want.Bytes ||
			got.Evictions != want.Evictions || got.Expired != want.Expired {
			t.Fatalf("step %d: %+v, want %+v", step, got, want)
		}
	}
	if m.evictions == 0 || m.expired == 0 {
		t.Fatalf("%d evictions, %d expired: the test is too gentle", m.evictions, m.expired)
	}
}
