package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// labelled returns a value that repeats its key and version, so that a wrong or torn one is recognised.
func labelled(key []byte, version uint64, n int) []byte {
	unit := binary.LittleEndian.AppendUint64(bytes.Clone(key), version)
	return bytes.Repeat(unit, n)
}

func isLabelled(value, key []byte, version uint64) bool {
	return bytes.Equal(value, labelled(key, version, len(value)/(len(key)+8)))
}

// hammer does n random operations on the store and returns the first wrong result.
func hammer(s *Store, limit int64, seed uint64, n int) error {
	random := rand.New(rand.NewPCG(seed, 1))
	var dst []byte
	for range n {
		key, version := fmt.Appendf(nil, "key %3d", random.IntN(300)), uint64(random.IntN(2))
		switch p := random.IntN(100); {
		case p < 40:
			s.Add(key, version, labelled(key, version, random.IntN(1<<random.IntN(12))), []int64{1, 2, Never}[random.IntN(3)])
		case p < 90:
			value, _, ok := s.Get(key, version, dst[:0])
			if ok && !isLabelled(value, key, version) {
				return fmt.Errorf("Get(%q, %d) = %.100q...", key, version, value)
			}
			dst = value
		case p < 93:
			s.Has(key, version)
		case p < 96:
			s.Remove(key)
		case p < 99:
			if got := s.Stats(); got.Bytes < 0 || got.Bytes > limit || got.Items < 0 {
				return fmt.Errorf("%+v with a limit of %d", got, limit)
			}
		case random.IntN(20) == 0:
			s.Clear()
		}
	}
	return nil
}

// hammerConcurrently runs hammer in four goroutines, and other in this one.
func hammerConcurrently(t *testing.T, s *Store, limit int64, other func()) {
	t.Helper()
	var group sync.WaitGroup
	for seed := range uint64(4) {
		group.Go(func() {
			if err := hammer(s, limit, seed, 5000); err != nil {
				t.Error(err)
			}
		})
	}
	other()
	group.Wait()
}

func TestStoreInConcurrentUse(t *testing.T) {
	for _, mask := range []uint64{^uint64(0), oneBucket} {
		const limit = 512 << 10
		var now atomic.Int64
		s := newStore(t, limit, func() int64 { return now.Add(1) % 3 }) // so that values expire now and then
		s.hashMask = mask
		hammerConcurrently(t, s, limit, func() {})
		checkIntact(t, s)
		if s.Stats().Evictions == 0 {
			t.Error("nothing was evicted: the test is too gentle")
		}
		s.Clear()
		if got := s.Stats(); got.Items != 0 || got.Bytes != 0 {
			t.Errorf("%+v after Clear: something leaked", got)
		}
		s.Close()
	}
}

func TestStoreClosedWhileInUse(t *testing.T) {
	const limit = 512 << 10
	for range 20 {
		s := newStore(t, limit, realClock)
		hammerConcurrently(t, s, limit, func() {
			if err := hammer(s, limit, 99, 500); err != nil {
				t.Error(err)
			}
			s.Close()
		})
		if got := s.Stats(); got.Items != 0 || got.Bytes != 0 {
			t.Fatalf("%+v after Close", got)
		}
	}
}

// More large writes are under way than fit: they must not wait for each other.
func TestStoreLargeConcurrentAddsDoNotDeadlock(t *testing.T) {
	s, _ := testStore(t, 4*oneMB)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			value := pattern(i, oneMB)
			for n := range 20 {
				s.Add(fmt.Append(nil, i, n), 2, value, Never)
			}
		})
	}
	group.Wait()
	checkIntact(t, s)
	mustAdd(t, s, "last", 2, pattern(1, oneMB))
}

// checkIntact follows every link of a store that is not in use, and compares what it finds with the counters.
func checkIntact(t *testing.T, s *Store) {
	t.Helper()
	seen := make(map[block]bool)
	claim := func(b block) {
		if seen[b] {
			t.Fatalf("block %d is used twice", b)
		}
		seen[b] = true
	}
	used, inQueue := 0, [queueKinds]int{}
	for i := range s.shards {
		items := int64(0)
		for kind := range s.shards[i].queues {
			entries, blocks := checkQueue(t, s, i, queueKind(kind), claim)
			used, items = used+blocks, items+int64(entries)
			inQueue[kind] += blocks
		}
		if got := s.shards[i].items; got != items {
			t.Fatalf("shard %d: %d items counted, %d found", i, got, items)
		}
	}
	for kind, n := range inQueue {
		if got := s.blocks[kind].Load(); got != int64(n) {
			t.Fatalf("the queues %d have %d blocks, counted as %d", kind, n, got)
		}
	}
	free := s.arena.total - int(s.arena.highest)
	for b := s.arena.released; b != none; b = *s.arena.link(b) {
		claim(b)
		free++
	}
	if used+free != s.arena.total || free != s.arena.free {
		t.Fatalf("%d blocks used and %d free, counted as %d free of %d", used, free, s.arena.free, s.arena.total)
	}
}

// checkQueue follows the links of a queue of shard number and claims its blocks.
func checkQueue(t *testing.T, s *Store, number int, kind queueKind, claim func(block)) (entries, blocks int) {
	t.Helper()
	q, newer := &s.shards[number].queues[kind], none
	for entry := q.head; entry != none; entry = s.arena.header(entry).older {
		h := s.arena.header(entry)
		n, _ := s.arena.blocksFor(int(h.keyLen), int(h.valueLen))
		b := entry
		for range n - 1 {
			claim(b)
			b = *s.arena.link(b)
		}
		claim(b)
		if b != h.last || h.newer != newer || h.queue != kind {
			t.Fatalf("shard %d: entry %d of %d blocks has a wrong link: %+v", number, entry, n, *h)
		}
		newer, entries, blocks = entry, entries+1, blocks+n
	}
	if q.tail != newer {
		t.Fatalf("shard %d, queue %d: the tail is %d, the last link leads to %d", number, kind, q.tail, newer)
	}
	return entries, blocks
}
