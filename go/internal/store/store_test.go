package store

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

const (
	oneMB = 1 << 20

	// Masks for Store.hashMask.
	oneShard  = 1<<32 - 1 // all keys in the first shard
	oneBucket = 0         // all keys collide
)

// realClock is the clock of tests that do not set it.
func realClock() int64 { return int64(time.Since(testsBegan)) }

var testsBegan = time.Now()

// testClock is a clock that tests set.
type testClock struct{ now int64 }

func (c *testClock) read() int64 { return c.now }

// newStore returns a store that the test closes.
func newStore(t testing.TB, maxBytes int64, now func() int64) *Store {
	t.Helper()
	s, err := New(maxBytes, now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testStore returns a store that the test closes, and its clock.
func testStore(t *testing.T, maxBytes int64) (*Store, *testClock) {
	t.Helper()
	clock := &testClock{now: 1000}
	s := newStore(t, maxBytes, clock.read)
	t.Cleanup(s.Close)
	return s, clock
}

// wantValue fails unless every method that reads finds exactly that value.
func wantValue(t *testing.T, s *Store, key string, version uint64, want []byte) {
	t.Helper()
	if !s.Has([]byte(key), version) {
		t.Fatalf("Has(%.40q, %d) = false", key, version)
	}
	if got, _, ok := s.Get([]byte(key), version, nil); !ok || !bytes.Equal(got, want) {
		t.Fatalf("Get(%.40q, %d) = %d bytes, %v, not the %d bytes added", key, version, len(got), ok, len(want))
	}
	buf := make([]byte, len(want)+1)
	if n, _, ok := s.GetInto([]byte(key), version, buf); !ok || !bytes.Equal(buf[:n], want) {
		t.Fatalf("GetInto(%.40q, %d) = %d, %v, not the %d bytes added", key, version, n, ok, len(want))
	}
}

func wantMiss(t *testing.T, s *Store, key string, version uint64) {
	t.Helper()
	if s.Has([]byte(key), version) {
		t.Fatalf("Has(%.40q, %d) = true", key, version)
	}
	if got, _, ok := s.Get([]byte(key), version, []byte("kept")); ok || string(got) != "kept" {
		t.Fatalf("Get(%.40q, %d) = %d bytes, %v, not a miss", key, version, len(got), ok)
	}
	if n, _, ok := s.GetInto([]byte(key), version, nil); ok || n != 0 {
		t.Fatalf("GetInto(%.40q, %d) = %d, %v, not a miss", key, version, n, ok)
	}
}

func mustAdd(t *testing.T, s *Store, key string, version uint64, value []byte) {
	t.Helper()
	if !s.Add([]byte(key), version, value, Never) {
		t.Fatalf("Add(%.40q, %d, %d bytes) = false", key, version, len(value))
	}
}

// pattern returns n bytes that differ from those of any other seed and offset.
func pattern(seed, n int) []byte {
	value := make([]byte, n)
	for i := range value {
		value[i] = byte(seed*131 + i + i>>8*7)
	}
	return value
}

func TestStoreKeepsAnyBytes(t *testing.T) {
	s, _ := testStore(t, 64*oneMB)
	room := blockSize - headerSize
	keys := []string{"", "\x00", "\x00\x00", "a\x00b", "a\x00", "a", "ü/€ .-_@$^()+ =", string(pattern(1, 3*blockSize))}
	sizes := []int{0, 1, room - 1, room, room + 1, room + blockSize - linkSize, room + blockSize, 5*oneMB + 1}
	for i, size := range sizes {
		for j, key := range keys {
			mustAdd(t, s, key, uint64(2*i), pattern(i+j, size))
		}
		for j, key := range keys {
			wantValue(t, s, key, uint64(2*i), pattern(i+j, size))
		}
	}
	mustAdd(t, s, "zeros", 2, make([]byte, 1000))
	wantValue(t, s, "zeros", 2, make([]byte, 1000))
}

func TestStoreHoldsOneVersionOfAKey(t *testing.T) {
	s, _ := testStore(t, oneMB)
	versions := []uint64{4, 2, 1<<64 - 2, 0, 0}
	for i, version := range versions {
		mustAdd(t, s, "key", version, pattern(i, 1000*i))
		wantValue(t, s, "key", version, pattern(i, 1000*i))
		for _, other := range versions {
			if other != version {
				wantMiss(t, s, "key", other)
			}
		}
		if got := s.Stats(); got.Items != 1 || got.Evictions != 0 {
			t.Fatalf("after version %d: %+v, not one item", version, got)
		}
	}
}

func TestStoreGetAppends(t *testing.T) {
	s, _ := testStore(t, oneMB)
	value := pattern(3, 1000)
	mustAdd(t, s, "key", 2, value)
	dst := append(make([]byte, 0, 2000), "before"...)
	got, _, ok := s.Get([]byte("key"), 2, dst)
	if !ok || !bytes.Equal(got, append([]byte("before"), value...)) {
		t.Fatalf("Get = %d bytes, %v, not the value appended", len(got), ok)
	}
	if &got[0] != &dst[0] {
		t.Error("Get did not use the capacity of dst")
	}
	key := []byte("key")
	if n := testing.AllocsPerRun(100, func() { s.Get(key, 2, dst) }); n != 0 {
		t.Errorf("Get allocates %v times with room in dst", n)
	}
}

func TestStoreGetIntoReturnsTheLengthOfWhatDoesNotFit(t *testing.T) {
	s, _ := testStore(t, oneMB)
	value := pattern(3, 1000)
	mustAdd(t, s, "key", 2, value)
	short := make([]byte, 999)
	if n, _, ok := s.GetInto([]byte("key"), 2, short); n != 1000 || !ok {
		t.Fatalf("GetInto = %d, %v, not 1000, true", n, ok)
	}
	if !bytes.Equal(short, make([]byte, 999)) {
		t.Error("GetInto wrote into a buffer that was too small")
	}
	if got := s.Stats(); got.Gets != 0 || got.Hits != 0 {
		t.Errorf("a call that copied nothing was counted: %+v", got)
	}
}

func TestStoreExpires(t *testing.T) {
	s, clock := testStore(t, oneMB)
	mustAdd(t, s, "never", 2, []byte("never"))
	for _, key := range []string{"a", "b"} {
		if !s.Add([]byte(key), 2, []byte(key), 1001) {
			t.Fatalf("%s, which expires in an instant, was not added", key)
		}
		wantValue(t, s, key, 2, []byte(key))
	}
	clock.now = 1001
	if s.Has([]byte("a"), 2) {
		t.Error("Has an entry at the instant it expires")
	}
	wantMiss(t, s, "a", 2)
	if got := s.Stats(); got.Items != 2 || got.Expired != 1 {
		t.Errorf("%+v, want 2 items, 1 expired", got)
	}
	wantMiss(t, s, "b", 2)
	clock.now = 1 << 62
	wantValue(t, s, "never", 2, []byte("never"))
	if got := s.Stats(); got.Items != 1 || got.Expired != 2 || got.Evictions != 0 {
		t.Errorf("%+v, want 1 item, 2 expired", got)
	}
	mustAdd(t, s, "a", 2, []byte("a"))
	wantValue(t, s, "a", 2, []byte("a"))
}

func TestStoreAddsNothingThatHasExpired(t *testing.T) {
	s, clock := testStore(t, oneMB)
	mustAdd(t, s, "key", 2, []byte("value"))
	for _, expires := range []int64{0, clock.now - 1, clock.now} {
		if s.Add([]byte("key"), 4, []byte("other"), expires) {
			t.Errorf("Add of a value that expired at %d = true, at %d", expires, clock.now)
		}
	}
	wantValue(t, s, "key", 2, []byte("value"))
	if got := s.Stats(); got.Items != 1 || got.Rejected != 0 {
		t.Errorf("%+v, want 1 item, none rejected", got)
	}
}

func TestStoreTellsCollidingKeysApart(t *testing.T) {
	s, _ := testStore(t, oneMB)
	s.hashMask = oneBucket
	long := string(pattern(1, 1000)) // keys that differ in the last byte only, several blocks away
	for i := range 20 {
		mustAdd(t, s, long+string(rune('a'+i)), 2, pattern(i, 100*i))
	}
	wantMiss(t, s, long+"z", 2)
	wantMiss(t, s, long, 2)
	for _, i := range []int{0, 19, 10} { // the chain's end, beginning and middle
		s.Remove([]byte(long + string(rune('a'+i))))
		wantMiss(t, s, long+string(rune('a'+i)), 2)
	}
	for i := range 20 {
		if i != 0 && i != 10 && i != 19 {
			wantValue(t, s, long+string(rune('a'+i)), 2, pattern(i, 100*i))
		}
	}
}

// Clear drops all entries that were stored before the call, so that tests see whether memory leaks.
func (s *Store) Clear() {
	for i := range s.shards {
		s.shards[i].clear()
	}
}

func (sh *shard) clear() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	clear(sh.ghosts)
	for kind := range sh.queues {
		for sh.queues[kind].tail != none {
			sh.drop(sh.queues[kind].tail)
		}
	}
}

func TestStoreRemoveAndClear(t *testing.T) {
	s, _ := testStore(t, oneMB)
	for i := range 100 {
		mustAdd(t, s, fmt.Sprint(i), 2, pattern(i, 1000))
	}
	s.Remove([]byte("50"))
	s.Remove([]byte("50"))
	s.Remove([]byte("unknown"))
	wantMiss(t, s, "50", 2)
	if got := s.Stats(); got.Items != 99 {
		t.Errorf("%+v, want 99 items", got)
	}
	s.Clear()
	if got := s.Stats(); got.Items != 0 || got.Bytes != 0 || got.Evictions != 0 {
		t.Errorf("%+v after Clear, want it empty and nothing evicted", got)
	}
	if got := held(s, 100); got != nil {
		t.Errorf("holds %v after Clear", got)
	}
	for i := range 100 {
		mustAdd(t, s, fmt.Sprint(i), 2, pattern(i, 2000))
	}
	for i := range 100 {
		wantValue(t, s, fmt.Sprint(i), 2, pattern(i, 2000))
	}
}

func TestStoreCounts(t *testing.T) {
	s, _ := testStore(t, oneMB)
	mustAdd(t, s, "key", 2, make([]byte, 1000)) // 5 blocks
	s.Get([]byte("key"), 2, nil)                // counts once, though it has to grow dst
	s.Get([]byte("key"), 4, nil)
	s.GetInto([]byte("key"), 2, make([]byte, 1000))
	s.GetInto([]byte("other"), 2, nil)
	s.Has([]byte("key"), 2)
	want := Stats{Bytes: 5 * (blockSize + 5), Items: 1, Gets: 4, Hits: 2}
	if got := s.Stats(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestStoreAfterClose(t *testing.T) {
	s, _ := testStore(t, oneMB)
	mustAdd(t, s, "key", 2, []byte("value"))
	s.Close()
	s.Close()
	wantMiss(t, s, "key", 2)
	if s.Add([]byte("key"), 2, nil, Never) {
		t.Error("Add = true after Close")
	}
	s.Remove([]byte("key"))
	s.Clear()
	if got, want := s.Stats(), (Stats{Gets: 2, Rejected: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
