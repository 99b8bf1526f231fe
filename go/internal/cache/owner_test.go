package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait of these tests. None asserts that anything is faster.
const patience = 20 * time.Second

// eventually waits until what is true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// database is a loader that answers each key with a value, at once unless it is held.
type database struct {
	mu     sync.Mutex
	loads  map[string]int // by key
	calls  int
	broken error
	hold   chan struct{} // answers wait until it is closed; nil: they do not
	answer func(keys [][]byte, done func([]Result, error))
}

func newDatabase() *database { return &database{loads: make(map[string]int)} }

func (d *database) Load(keys [][]byte, done func([]Result, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	for _, key := range keys {
		d.loads[string(key)]++
	}
	hold, broken, answer := d.hold, d.broken, d.answer
	go func() {
		if hold != nil {
			<-hold
		}
		switch {
		case answer != nil:
			answer(keys, done)
		case broken != nil:
			done(nil, broken)
		default:
			done(valuesOf(keys), nil)
		}
	}()
}

func valuesOf(keys [][]byte) []Result {
	values := make([]Result, len(keys))
	for i, key := range keys {
		values[i].Value = valueOf(string(key))
	}
	return values
}

func valueOf(key string) []byte { return []byte("the value of " + key) }

// set changes the database's ways.
func (d *database) set(f func(d *database)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

func (d *database) loadsOf(key string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.loads[key]
}

func (d *database) callCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

func newOwner(t testing.TB, d *database, limits Limits) *Owner {
	store := NewStore(1 << 20)
	o := NewOwner(store, d, 0, limits)
	t.Cleanup(func() {
		o.Close()
		store.Close()
	})
	return o
}

var roomy = Limits{Flights: 1000, LoadTimeout: patience}

func names(version uint64, keys ...string) []Name {
	list := make([]Name, len(keys))
	for i, key := range keys {
		list[i] = Name{[]byte(key), version}
	}
	return list
}

func wantResult(t testing.TB, r Result, source Source, value []byte) {
	t.Helper()
	if r.Err != nil || r.Source != source || string(r.Value) != string(value) {
		t.Errorf("got %q from %d with error %v, want %q from %d", r.Value, r.Source, r.Err, value, source)
	}
}

func TestOwnerLoadsOnceForAllWhoAsk(t *testing.T) {
	d := newDatabase()
	d.hold = make(chan struct{})
	o := newOwner(t, d, roomy)
	const askers = 100
	results := make([]Result, askers)
	var wg sync.WaitGroup
	for i := range askers {
		wg.Go(func() { results[i] = o.Get(t.Context(), names(2, "a"))[0] })
	}
	eventually(t, "all but one wait for a load under way", func() bool { return o.Shared.Load() == askers-1 })
	close(d.hold)
	wg.Wait()
	if n := d.loadsOf("a"); n != 1 || o.Loads.Load() != 1 {
		t.Errorf("%d loads, %d counted; want 1", n, o.Loads.Load())
	}
	sources := make(map[Source]int)
	for _, r := range results {
		sources[r.Source]++
		if string(r.Value) != string(valueOf("a")) {
			t.Fatalf("got %q, %v", r.Value, r.Err)
		}
	}
	if sources[Database] != 1 || sources[Shared] != askers-1 {
		t.Errorf("sources are %v", sources)
	}
	wantResult(t, o.Get(t.Context(), names(2, "a"))[0], Own, valueOf("a"))
}

func TestOwnerLoadsAllThatIsMissingInOneCall(t *testing.T) {
	d := newDatabase()
	o := newOwner(t, d, roomy)
	o.Put(Name{[]byte("b"), 2}, []byte("there already"))
	results := o.Get(t.Context(), names(2, "a", "b", "c", "a"))
	wantResult(t, results[0], Database, valueOf("a"))
	wantResult(t, results[1], Own, []byte("there already"))
	wantResult(t, results[2], Database, valueOf("c"))
	wantResult(t, results[3], Shared, valueOf("a"))
	if d.callCount() != 1 || d.loadsOf("a") != 1 || d.loadsOf("b") != 0 {
		t.Errorf("%d calls of the loader, for %v", d.callCount(), d.loads)
	}
}

func TestOwnerStoresUnderTheNameThatWasAskedFor(t *testing.T) {
	d := newDatabase()
	d.hold = make(chan struct{})
	o := newOwner(t, d, roomy)
	old := make(chan []Result)
	go func() { old <- o.Get(context.Background(), names(2, "a")) }()
	eventually(t, "the load is under way", func() bool { return d.callCount() == 1 })
	// A write has renamed the key meanwhile: who asks under the new name must not get the old
	// load's value (R1).
	d.set(func(d *database) { d.hold = nil })
	wantResult(t, o.Get(t.Context(), names(4, "a"))[0], Database, valueOf("a"))
	close(d.hold0())
	<-old
	if d.loadsOf("a") != 2 {
		t.Errorf("%d loads of two names, want 2", d.loadsOf("a"))
	}
	if o.store.Has([]byte("a"), 3) || o.store.Has([]byte("a"), 0) {
		t.Error("the value lies under a name that nobody asked for")
	}
}
