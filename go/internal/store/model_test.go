package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// model is a Store in the simplest words: a list in which each queue's entries are in its order,
// searched from end to end. It knows of the real store only how many blocks a value takes, in which
// shard a key lies, and where there its ghost.
type model struct {
	store     *Store
	entries   []modelEntry // oldest first
	ghosts    map[modelGhost]uint32
	passed    int // since something was dropped
	adds      uint64
	evictions int64
	expired   int64
}

type modelEntry struct {
	key     string
	version uint64
	value   []byte
	expire  int64
	added   uint64
	shard   *shard
	blocks  int
	place   place
	uses    uint8
}

type modelGhost struct {
	shard *shard
	at    int
}

func (m *model) index(key string) int {
	for i, e := range m.entries {
		if e.key == key {
			return i
		}
	}
	return -1
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
	ghost, trace := m.ghost(key)
	e.shard = ghost.shard
	if i := m.index(key); i >= 0 {
		e.place, e.uses = m.entries[i].place, m.entries[i].uses
		m.remove(i)
	} else if m.ghosts[ghost] == trace {
		e.place = main
		delete(m.ghosts, ghost)
	}
	m.entries = append(m.entries, e)
	return true
}

// ghost is where a key is remembered, and by what.
func (m *model) ghost(key string) (modelGhost, uint32) {
	sh, hash := m.store.shardOf([]byte(key))
	h := &header{bucket: sh.bucket(hash)}
	return modelGhost{sh, sh.ghosts.at(h)}, traceOf(hash)
}

func (m *model) evict() {
	inSmall := 0
	for _, e := range m.entries {
		if e.place == small {
			inSmall += e.blocks
		}
	}
	from := main
	if inSmall > m.store.arena.total/10 {
		from = small
	}
	i := m.oldest(from)
	if i < 0 {
		i = m.oldest(small + main - from)
	}
	e := m.entries[i]
	m.remove(i)
	m.passed++
	switch {
	case e.uses > 0 && m.passed <= maxPassed && e.place == main:
		e.uses--
	case e.uses > 0 && m.passed <= maxPassed:
		e.place, e.uses = main, 0
	default:
		if e.place == small {
			ghost, trace := m.ghost(e.key)
			m.ghosts[ghost] = trace
		}
		m.evictions++
		m.passed = 0
		return
	}
	e.added = m.adds
	m.entries = append(m.entries, e)
}

// oldest is the first entry of a queue, save that of what came between the same two adds that of the
// lowest shard counts as the oldest; inside a shard the order of the list decides.
func (m *model) oldest(in place) int {
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
		if m.entries[i].place != in {
			continue
		}
		if best < 0 || m.entries[i].added == m.entries[best].added && number(i) < number(best) {
			best = i
		}
	}
	return best
}

// TestStoreIsItsModel does the same random things to a store and to its model.
func TestStoreIsItsModel(t *testing.T) {
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
			if i := m.index(key); i >= 0 {
				m.remove(i)
			}
		default:
			s.Clear()
			m.entries = nil
			clear(m.ghosts)
		}
		clock.now++
		got := s.Stats()
		wantBytes := int64(m.blocks() * (blockSize + shareSize))
		if got.Items != int64(len(m.entries)) || got.Bytes != wantBytes || got.Evictions != m.evictions || got.Expired != m.expired {
			t.Fatalf("step %d: %+v, want %d items, %d bytes, %d evictions, %d expired",
				step, got, len(m.entries), wantBytes, m.evictions, m.expired)
		}
	}
	if m.evictions == 0 || m.expired == 0 {
		t.Fatalf("%d evictions, %d expired: the test is too gentle", m.evictions, m.expired)
	}
}
