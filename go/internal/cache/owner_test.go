package cache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

var roomy = Limits{Flights: 1000, LoadTimeout: patience}

func newOwner(t testing.TB, d *database, limits Limits) *Owner {
	store := newStore(t, realClock)
	o := NewOwner(store, d, 0, realClock, limits)
	t.Cleanup(o.Close)
	return o
}

// startGet calls Get in the background.
func startGet(ctx context.Context, o *Owner, keys []VersionedKey) <-chan []Result {
	answer := make(chan []Result, 1)
	go func() { answer <- o.Get(ctx, keys) }()
	return answer
}

func TestOwnerLoadsOnceForConcurrentRequests(t *testing.T) {
	d := &database{}
	o := newOwner(t, d, roomy)
	const requests = 100
	var answers []<-chan []Result
	for range requests {
		answers = append(answers, startGet(t.Context(), o, versioned(2, "a")))
	}
	eventually(t, "all but one join the load", func() bool { return o.Deduplicated.Load() == requests-1 })
	d.call(t, 0).give("v")
	sources := make(map[Source]int)
	for _, answer := range answers {
		r := within(t, answer)[0]
		sources[r.Source]++
		wantResult(t, r, r.Source, "v")
	}
	if sources[Database] != 1 || sources[Deduplicated] != requests-1 || d.count() != 1 || o.Loads.Load() != 1 {
		t.Errorf("sources %v, %d calls, %d loads counted", sources, d.count(), o.Loads.Load())
	}
	wantResult(t, o.Get(t.Context(), versioned(2, "a"))[0], Own, "v")
}

func TestOwnerLoadsAllMissingKeysInOneCall(t *testing.T) {
	d := &database{respond: give}
	o := newOwner(t, d, roomy)
	o.Keep(VersionedKey{[]byte("b"), 2}, []byte("there already"), 0, Never)
	results := o.Get(t.Context(), versioned(2, "a", "b", "c", "a"))
	wantResult(t, results[0], Database, valueOf("a"))
	wantResult(t, results[1], Own, "there already")
	wantResult(t, results[2], Database, valueOf("c"))
	wantResult(t, results[3], Deduplicated, valueOf("a"))
	if d.count() != 1 || d.loadsOf("a") != 1 || d.loadsOf("b") != 0 {
		t.Errorf("%d calls, %d for a, %d for b", d.count(), d.loadsOf("a"), d.loadsOf("b"))
	}
}

// A write bumps the version while the key is loaded. A request for the new version neither joins the load nor finds its
// value (R1), in whatever order the answers come.
func TestOwnerStoresUnderTheRequestedVersion(t *testing.T) {
	for _, newerFirst := range []bool{false, true} {
		d := &database{}
		o := newOwner(t, d, roomy)
		old := startGet(t.Context(), o, versioned(2, "a"))
		d.call(t, 0)
		bumped := startGet(t.Context(), o, versioned(4, "a"))
		d.call(t, 1)
		order := []int{0, 1}
		if newerFirst {
			order = []int{1, 0}
		}
		for _, i := range order {
			d.call(t, i).give([]string{"old", "new"}[i])
		}
		wantResult(t, within(t, old)[0], Database, "old")
		wantResult(t, within(t, bumped)[0], Database, "new")
		for version, value := range map[uint64]string{2: "old", 4: "new"} {
			if got, _, ok := o.store.Get([]byte("a"), version, nil); ok && string(got) != value {
				t.Errorf("version %d is %q", version, got)
			}
		}
	}
}

func TestOwnerARequestThatGivesUpLeavesTheLoadToOthers(t *testing.T) {
	d := &database{}
	o := newOwner(t, d, roomy)
	ctx, giveUp := context.WithCancel(t.Context())
	leader := startGet(ctx, o, versioned(2, "a"))
	d.call(t, 0)
	other := startGet(t.Context(), o, versioned(2, "a"))
	eventually(t, "the other one joins", func() bool { return o.Deduplicated.Load() == 1 })
	giveUp()
	if r := within(t, leader)[0]; !errors.Is(r.Err, context.Canceled) {
		t.Errorf("the request that gave up got %v, want %v", r.Err, context.Canceled)
	}
	d.call(t, 0).give("v")
	wantResult(t, within(t, other)[0], Deduplicated, "v")
	wantResult(t, o.Get(t.Context(), versioned(2, "a"))[0], Own, "v")
	if d.count() != 1 {
		t.Errorf("%d loads", d.count())
	}
}

func TestOwnerFailedLoads(t *testing.T) {
	broken := errors.New("the database is on fire")
	for what, answer := range map[string]func(c *call){
		"an error for all":     func(c *call) { c.done(nil, broken) },
		"an error for a key":   func(c *call) { c.done([]Result{{Err: broken}}, nil) },
		"too few values":       func(c *call) { c.give() },
		"too many values":      func(c *call) { c.give("v", "w") },
		"an error with values": func(c *call) { c.done([]Result{{Value: []byte("v")}}, broken) },
	} {
		t.Run(what, func(t *testing.T) {
			d := &database{}
			o := newOwner(t, d, roomy)
			one, two := startGet(t.Context(), o, versioned(2, "a")), startGet(t.Context(), o, versioned(2, "a"))
			eventually(t, "one joins the other", func() bool { return o.Deduplicated.Load() == 1 })
			answer(d.call(t, 0))
			if a, b := within(t, one)[0], within(t, two)[0]; a.Err == nil || b.Err == nil || a.Source != Nowhere {
				t.Errorf("got %v and %v, want errors", a, b)
			}
			if o.Failed.Load() != 1 || o.Loads.Load() != 0 {
				t.Errorf("%d failed and %d loaded, want 1 and 0", o.Failed.Load(), o.Loads.Load())
			}
			// A failure is not kept: the next request loads again.
			again := startGet(t.Context(), o, versioned(2, "a"))
			d.call(t, 1).give("v")
			wantResult(t, within(t, again)[0], Database, "v")
		})
	}
}

func TestOwnerOneFailedKeyDoesNotHarmTheOthers(t *testing.T) {
	d := &database{respond: func(c *call) {
		c.done([]Result{{Err: errors.New("no")}, {Value: []byte("v"), Source: Own}}, nil)
	}}
	o := newOwner(t, d, roomy)
	results := o.Get(t.Context(), versioned(2, "a", "b"))
	if results[0].Err == nil {
		t.Errorf("got %q for the key that failed", results[0].Value)
	}
	// The loader says that it was the store.
	wantResult(t, results[1], Database, "v")
}

func TestOwnerLoadHasADeadline(t *testing.T) {
	d := &database{}
	o := newOwner(t, d, Limits{Flights: 10, LoadTimeout: 20 * time.Millisecond})
	if r := o.Get(t.Context(), versioned(2, "a"))[0]; !errors.Is(r.Err, ErrTimeout) {
		t.Errorf("got %v, want %v", r.Err, ErrTimeout)
	}
	// A late answer does no harm.
	d.call(t, 0).give("late")
	if o.store.Has([]byte("a"), 2) {
		t.Error("an answer after the deadline was stored")
	}
	again := startGet(t.Context(), o, versioned(2, "a"))
	d.call(t, 1).give("v")
	if r := within(t, again)[0]; r.Err == nil && string(r.Value) != "v" {
		t.Errorf("got %q", r.Value)
	}
}

func TestOwnerTakesTheFirstOfTwoAnswers(t *testing.T) {
	d := &database{respond: func(c *call) {
		c.give("first")
		c.give("second")
		c.done(nil, errors.New("third"))
	}}
	o := newOwner(t, d, roomy)
	wantResult(t, o.Get(t.Context(), versioned(2, "a"))[0], Database, "first")
	wantResult(t, o.Get(t.Context(), versioned(2, "a"))[0], Own, "first")
}

// A load may finish between a request's miss in the store and its search for a load to join.
func TestOwnerReadsTheStoreAgainBeforeItLoads(t *testing.T) {
	d := &database{respond: give}
	o := newOwner(t, d, roomy)
	wantResult(t, o.Get(t.Context(), versioned(2, "a"))[0], Database, valueOf("a"))
	f, leads, err := o.join(versioned(2, "a")[0])
	if err != nil || leads {
		t.Fatalf("join of a key in the store: leads %v, error %v", leads, err)
	}
	wantResult(t, f.wait(t.Context(), Deduplicated), Own, valueOf("a"))
}

func TestOwnerRefusesMoreLoadsThanItsLimit(t *testing.T) {
	d := &database{}
	o := newOwner(t, d, Limits{Flights: 2, LoadTimeout: patience})
	both := startGet(t.Context(), o, versioned(2, "a", "b"))
	held := d.call(t, 0)
	if r := o.Get(t.Context(), versioned(2, "c"))[0]; !errors.Is(r.Err, ErrOverload) {
		t.Errorf("got %v, want %v", r.Err, ErrOverload)
	}
	joins := startGet(t.Context(), o, versioned(2, "a")) // adds no load
	eventually(t, "it joins", func() bool { return o.Deduplicated.Load() == 1 })
	held.give("v", "w")
	within(t, both)
	wantResult(t, within(t, joins)[0], Deduplicated, "v")
	d.respond = give
	wantResult(t, o.Get(t.Context(), versioned(2, "c"))[0], Database, valueOf("c"))
}

func TestOwnerCloseEndsAllWaits(t *testing.T) {
	d := &database{}
	o := newOwner(t, d, roomy)
	leader, other := startGet(t.Context(), o, versioned(2, "a")), startGet(t.Context(), o, versioned(2, "a"))
	eventually(t, "one joins the other", func() bool { return o.Deduplicated.Load() == 1 })
	o.Close()
	for _, r := range []Result{within(t, leader)[0], within(t, other)[0], o.Get(t.Context(), versioned(2, "b"))[0]} {
		if !errors.Is(r.Err, ErrClosed) {
			t.Errorf("got %v, want %v", r.Err, ErrClosed)
		}
	}
	d.call(t, 0).give("late")
	o.Close()
}

func TestOwnerServeNow(t *testing.T) {
	o := newOwner(t, &database{}, roomy)
	for _, key := range []string{"a", "b", "c"} {
		o.Keep(VersionedKey{[]byte(key), 2}, []byte("1234"), 0, Never)
	}
	for _, c := range []struct {
		keys   []VersionedKey
		budget int
		want   int // results; -1 if a key is missing
	}{
		{versioned(2, "a", "b", "c"), 100, 3},
		{versioned(2, "a", "b", "c"), 12, 3},
		{versioned(2, "a", "b", "c"), 5, 2}, // including the one that exceeds the budget
		{versioned(2, "a", "b", "c"), 0, 1}, // never none, or the peer would make no progress
		{versioned(2, "a", "x", "c"), 100, -1},
		{versioned(2, "a", "x"), 0, 1}, // what comes after the budget may be missing
		{versioned(4, "a"), 100, -1},
	} {
		results, ok := o.ServeNow(c.keys, c.budget)
		if ok != (c.want >= 0) || ok && len(results) != c.want {
			t.Errorf("%d keys with budget %d: %d results, %v", len(c.keys), c.budget, len(results), ok)
		}
		for _, r := range results {
			wantResult(t, r, Own, "1234")
		}
	}
}

func TestOwnerLoadsAgainAfterTheTTL(t *testing.T) {
	d := &database{respond: give}
	clock := &testClock{now: 1000}
	o := NewOwner(newStore(t, clock.read), d, time.Hour, clock.read, roomy)
	wantResult(t, o.Get(t.Context(), versioned(2, "a"))[0], Database, valueOf("a"))
	clock.now += int64(time.Hour) - 1
	wantResult(t, o.Get(t.Context(), versioned(2, "a"))[0], Own, valueOf("a"))
	clock.now++
	wantResult(t, o.Get(t.Context(), versioned(2, "a"))[0], Database, valueOf("a"))
}

func TestOwnerInConcurrentUse(t *testing.T) {
	d := &database{respond: give}
	o := newOwner(t, d, roomy)
	var answers []<-chan []Result
	for i := range 200 {
		a, b := fmt.Sprint(i%7), fmt.Sprint(i%5)
		answers = append(answers, startGet(t.Context(), o, versioned(uint64(i%3)*2, a, b)))
	}
	for i, answer := range answers {
		results := within(t, answer)
		wantResult(t, results[0], results[0].Source, valueOf(fmt.Sprint(i%7)))
		wantResult(t, results[1], results[1].Source, valueOf(fmt.Sprint(i%5)))
	}
	if left := len(o.flights); left != 0 {
		t.Errorf("%d loads are left over", left)
	}
}
