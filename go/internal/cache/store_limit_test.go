package cache

import (
	"fmt"
	"slices"
	"testing"
)

// held returns which of the names "0", "1", ... below n the store has, in version 2.
func held(s *Store, n int) []int {
	var names []int
	for i := range n {
		if s.Has(fmt.Append(nil, i), 2) {
			names = append(names, i)
		}
	}
	return names
}

func TestStoreForgetsLeastRecentlyUsed(t *testing.T) {
	for _, mask := range []uint64{^uint64(0), oneShard, oneBucket} {
		t.Run(fmt.Sprintf("hashes of %#x", mask), func(t *testing.T) {
			s, _ := testStore(t, oneMB)
			s.hashMask = mask
			size := oneMB / 10
			add := func(i int) { mustAdd(t, s, fmt.Sprint(i), 2, pattern(i, size)) }
			for i := range 9 {
				add(i)
			}
			if got, want := held(s, 20), []int{0, 1, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(got, want) {
				t.Fatalf("holds %v, want %v", got, want)
			}
			wantValue(t, s, "0", 2, pattern(0, size)) // a use
			add(9)
			s.Has([]byte("2"), 2)      // no use
			add(3)                     // a use, for which 2 has to go: the new 3 is written beside the old one
			s.Get([]byte("4"), 4, nil) // no use
			add(10)                    // has the old 3's room
			add(11)
			if got, want := held(s, 20), []int{0, 3, 5, 6, 7, 8, 9, 10, 11}; !slices.Equal(got, want) {
				t.Fatalf("holds %v, want %v", got, want)
			}
		})
	}
}

func TestStoreEvictsFromAllShardsForAHugeValue(t *testing.T) {
	s, _ := testStore(t, 64*oneMB)
	for i := range 70_000 {
		mustAdd(t, s, fmt.Sprint(i), 2, pattern(i, 1024))
	}
	before := s.Stats()
	huge := pattern(7, 16*oneMB)
	mustAdd(t, s, "huge", 2, huge)
	wantValue(t, s, "huge", 2, huge)
	after := s.Stats()
	if gone := before.Items - after.Items + 1; gone != after.Evictions-before.Evictions || gone > before.Items/3 {
		t.Errorf("%d of %d items made room for a quarter of the limit", gone, before.Items)
	}
	for i := range s.shards {
		if s.shards[i].items < before.Items/shardCount/2 {
			t.Errorf("shard %d was emptied: %d items left", i, s.shards[i].items)
		}
	}
}

func TestStoreRejectsWhatIsTooLarge(t *testing.T) {
	s, _ := testStore(t, 4*oneMB)
	mustAdd(t, s, "small", 2, pattern(1, 100))
	for _, kv := range [][2]int{{0, 2 * oneMB}, {2 * oneMB, 0}, {oneMB, oneMB}} {
		if s.Add(pattern(1, kv[0]), 2, pattern(2, kv[1]), 0) {
			t.Errorf("Add of a key of %d and a value of %d bytes = true", kv[0], kv[1])
		}
	}
	mustAdd(t, s, "quarter", 2, pattern(1, oneMB))
	wantValue(t, s, "small", 2, pattern(1, 100))
	if got := s.Stats(); got.Rejected != 3 || got.Items != 2 || got.Evictions != 0 {
		t.Errorf("%+v, want 3 rejected, 2 items, nothing evicted", got)
	}
}

func TestStoreWithoutRoomKeepsNothing(t *testing.T) {
	for _, maxBytes := range []int64{-1 << 63, -1, 0, 1, 1000, 16_000} {
		s, _ := testStore(t, maxBytes)
		if s.Add([]byte("key"), 2, nil, 0) {
			t.Errorf("limit %d: Add = true", maxBytes)
		}
		wantMiss(t, s, "key", 2)
		s.Remove([]byte("key"))
		s.Clear()
		if got, want := s.Stats(), (Stats{Gets: 2, Rejected: 1}); got != want {
			t.Errorf("limit %d: %+v, want %+v", maxBytes, got, want)
		}
	}
}
