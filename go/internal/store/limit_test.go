package store

import (
	"fmt"
	"slices"
	"testing"
)

// held returns which of the keys "0", "1", ... below n the store has in version 2.
func held(s *Store, n int) []int {
	var keys []int
	for i := range n {
		if s.Has(fmt.Append(nil, i), 2) {
			keys = append(keys, i)
		}
	}
	return keys
}

func TestStoreKeepsWhatWasUsed(t *testing.T) {
	s, _ := testStore(t, oneMB)
	size := oneMB / 10
	add := func(i int) { mustAdd(t, s, fmt.Sprint(i), 2, pattern(i, size)) }
	for i := range 9 {
		add(i)
	}
	if got, want := held(s, 20), []int{0, 1, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(got, want) {
		t.Fatalf("holds %v, want %v", got, want)
	}
	wantValue(t, s, "0", 2, pattern(0, size))
	wantValue(t, s, "3", 2, pattern(3, size))
	s.Has([]byte("1"), 2)      // is no use
	s.Get([]byte("1"), 4, nil) // is a miss
	for i := 9; i < 19; i++ {
		add(i)
	}
	if got, want := held(s, 20), []int{0, 3, 12, 13, 14, 15, 16, 17, 18}; !slices.Equal(got, want) {
		t.Fatalf("holds %v, want %v", got, want)
	}
	add(4) // its ghost is remembered
	if m := s.blocks[main].Load(); m < 3*int64(size/blockSize) {
		t.Errorf("%d blocks are in the main queues, fewer than those of 0, 3 and 4", m)
	}
}

// This is why the policy is S3-FIFO: an LRU forgets everything in a scan.
func TestStoreSurvivesAScan(t *testing.T) {
	s, _ := testStore(t, 8*oneMB)
	value := pattern(1, 1024)
	const hot = 8 * oneMB / 2 / (5 * 261)
	readHot := func() (hits int) {
		for i := range hot {
			key := fmt.Append(nil, "hot ", i)
			if _, _, ok := s.Get(key, 2, nil); ok {
				hits++
			} else if !s.Add(key, 2, value, Never) {
				t.Fatal("not added")
			}
		}
		return hits
	}
	for range 3 {
		readHot()
	}
	before := readHot()
	for i := range 10 * 2 * hot {
		mustAdd(t, s, fmt.Sprint("scan ", i), 2, value)
	}
	if after := readHot(); before < hot || after < before*9/10 {
		t.Errorf("%d of %d in memory before the scan, %d after it", before, hot, after)
	}
}

func TestStoreEvictsFromAllShardsForALargeValue(t *testing.T) {
	s, _ := testStore(t, 64*oneMB)
	for i := range 70_000 {
		mustAdd(t, s, fmt.Sprint(i), 2, pattern(i, 1024))
	}
	before := s.Stats()
	large := pattern(7, 16*oneMB)
	mustAdd(t, s, "large", 2, large)
	wantValue(t, s, "large", 2, large)
	after := s.Stats()
	if gone := before.Items - after.Items + 1; gone != after.Evictions-before.Evictions || gone > before.Items/3 {
		t.Errorf("%d of %d items were evicted for a quarter of the limit", gone, before.Items)
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
		if s.Add(pattern(1, kv[0]), 2, pattern(2, kv[1]), Never) {
			t.Errorf("Add of a key of %d and a value of %d bytes = true", kv[0], kv[1])
		}
	}
	mustAdd(t, s, "quarter", 2, pattern(1, oneMB))
	wantValue(t, s, "small", 2, pattern(1, 100))
	if got := s.Stats(); got.Rejected != 3 || got.Items != 2 || got.Evictions != 0 {
		t.Errorf("%+v, want 3 rejected, 2 items, nothing evicted", got)
	}
}

func TestStoreGivesOneEntryUpToAThirdOfItsBlocks(t *testing.T) {
	s, _ := testStore(t, 4*oneMB)
	most := s.arena.largest*(blockSize-linkSize) - (headerSize - linkSize) - len("key")
	if s.Add([]byte("key"), 2, pattern(1, most+1), Never) {
		t.Error("an entry that is one byte too large was added")
	}
	mustAdd(t, s, "key", 2, pattern(1, most))
	wantValue(t, s, "key", 2, pattern(1, most))
}

func TestStoreWithoutRoomKeepsNothing(t *testing.T) {
	for _, maxBytes := range []int64{-1 << 63, -1, 0, 1, 1000, 16_000} {
		s, _ := testStore(t, maxBytes)
		if s.Add([]byte("key"), 2, nil, Never) {
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

// Where everything is in use an Add promotes a bounded number of entries, and then evicts one all the same.
func TestStoreAddPromotesABoundedNumber(t *testing.T) {
	s, _ := testStore(t, oneMB)
	one := func(i int) bool { return s.arena.free > 0 && s.Add(fmt.Append(nil, i), 2, nil, Never) }
	n := 0
	for ; one(n); n++ {
		if n, _, ok := s.GetInto(fmt.Append(nil, n), 2, nil); !ok || n != 0 {
			t.Fatal("what was added was not found")
		}
	}
	if n < 10*maxPromoted {
		t.Fatalf("only %d entries fit", n)
	}
	mustAdd(t, s, "one more", 2, nil)
	if promoted := s.blocks[main].Load(); promoted > maxPromoted || s.Stats().Evictions != 1 {
		t.Errorf("%d were promoted and %d evicted", promoted, s.Stats().Evictions)
	}
}

// If the main queues are empty, entries are evicted from the small queues even if these are below their share.
func TestStoreEvictsFromTheSmallQueuesIfTheMainQueuesAreEmpty(t *testing.T) {
	s, _ := testStore(t, oneMB)
	mustAdd(t, s, "first", 2, nil)
	if !s.arena.reserve(s.arena.free) { // as other Adds under way do
		t.Fatal("the free blocks could not be reserved")
	}
	mustAdd(t, s, "second", 2, nil)
	wantValue(t, s, "second", 2, nil)
	wantMiss(t, s, "first", 2)
}
