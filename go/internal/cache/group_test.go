package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

func TestGroupSources(t *testing.T) {
	d := &database{respond: give}
	g, n := newGroup(t, Config{Address: "self:1"}, d)
	withPeers(t, g, n, "peer:1")
	own, theirs := keysOf(g, "", 3), keysOf(g, "peer:1", 3)

	for _, together := range []bool{false, true} {
		mine, other := own[0], theirs[0]
		if together {
			mine, other = own[1], theirs[1]
		}
		keys := versioned(2, mine, other)
		get := func() []Result {
			if together {
				return g.Get(t.Context(), keys)
			}
			return append(g.Get(t.Context(), keys[:1]), g.Get(t.Context(), keys[1:])...)
		}
		wantLookup(t, g, keys[0], Nowhere, "")
		results := get()
		wantResult(t, results[0], Database, valueOf(mine))
		wantResult(t, results[1], Peer, valueOf(other))
		wantLookup(t, g, keys[0], Own, valueOf(mine))
		wantLookup(t, g, keys[1], Hot, valueOf(other))
		results = get()
		wantResult(t, results[0], Own, valueOf(mine))
		wantResult(t, results[1], Hot, valueOf(other))
	}
	if loaded, joined, failed := g.Loads(); loaded != 2 || joined != 0 || failed != 0 || g.PeerLoads.Load() != 2 {
		t.Errorf("%d loaded, %d joined, %d failed, %d from peers", loaded, joined, failed, g.PeerLoads.Load())
	}
}

func TestGroupLookupReturnsTheLengthOfWhatDoesNotFit(t *testing.T) {
	g, _ := newGroup(t, Config{Address: "self:1"}, nil)
	g.AsOwner.Keep(VersionedKey{[]byte("a"), 2}, []byte("12345"), 0, Never)
	buf := []byte("....")
	if n, _, source := g.Lookup(VersionedKey{[]byte("a"), 2}, buf); n != 5 || source != Own || string(buf) != "...." {
		t.Errorf("got %d, %d, %q", n, source, buf)
	}
}

func TestGroupSendsEachPeerOneRequestForManyKeys(t *testing.T) {
	d := &database{respond: give}
	g, n := newGroup(t, Config{Address: "self:1"}, d)
	withPeers(t, g, n, "b:1", "c:1")
	keys := slices.Concat(keysOf(g, "", 20), keysOf(g, "b:1", 30), keysOf(g, "c:1", 40))
	for i, r := range g.Get(t.Context(), versioned(2, keys...)) {
		wantResult(t, r, r.Source, valueOf(keys[i]))
	}
	b, c := n.requests("b:1"), n.requests("c:1")
	if !slices.Equal(b, []int{30}) || !slices.Equal(c, []int{40}) || d.count() != 1 {
		t.Errorf("requests to b for %v keys, to c for %v; %d loads", b, c, d.count())
	}
	// What is in memory now is not requested again.
	g.Get(t.Context(), versioned(2, append(keys, "another")...))
	if b, c := len(n.requests("b:1")), len(n.requests("c:1")); b+c > 3 || d.count() > 2 {
		t.Errorf("%d requests to b, %d to c; %d loads", b, c, d.count())
	}
}

func TestGroupAFailingPeerCostsALoadAndNoError(t *testing.T) {
	for what, answer := range map[string]func([]VersionedKey) ([]Result, error){
		"an error":   func([]VersionedKey) ([]Result, error) { return nil, errors.New("no") },
		"a deadline": func([]VersionedKey) ([]Result, error) { return nil, context.DeadlineExceeded },
		"too few":    func(n []VersionedKey) ([]Result, error) { return make([]Result, len(n)-1), nil },
		"too many":   func(n []VersionedKey) ([]Result, error) { return make([]Result, len(n)+1), nil },
		"an error for the key": func(n []VersionedKey) ([]Result, error) {
			return slices.Repeat([]Result{{Err: errors.New("no")}}, len(n)), nil
		},
	} {
		t.Run(what, func(t *testing.T) {
			g, n := newGroup(t, Config{Address: "self:1"}, nil)
			withPeers(t, g, n, "peer:1")
			n.peers["peer:1"] = answer
			keys := keysOf(g, "peer:1", 3)
			wantResult(t, g.Get(t.Context(), versioned(2, keys[0]))[0], Database, valueOf(keys[0]))
			for i, r := range g.Get(t.Context(), versioned(2, keys[1:]...)) {
				wantResult(t, r, Database, valueOf(keys[1:][i]))
			}
			if g.PeerErrors.Load() != 3 || g.PeerLoads.Load() != 0 {
				t.Errorf("%d errors and %d loads of peers", g.PeerErrors.Load(), g.PeerLoads.Load())
			}
			wantLookup(t, g, versioned(2, keys[0])[0], Own, valueOf(keys[0]))
		})
	}
}

func TestGroupSomeKeysOfAPeerFail(t *testing.T) {
	g, n := newGroup(t, Config{Address: "self:1"}, nil)
	withPeers(t, g, n, "peer:1")
	n.peers["peer:1"] = func([]VersionedKey) ([]Result, error) {
		return []Result{{Value: []byte("v"), Source: Peer, Expires: Never}, {Err: errors.New("no")}}, nil
	}
	keys := keysOf(g, "peer:1", 2)
	results := g.Get(t.Context(), versioned(2, keys...))
	wantResult(t, results[0], Peer, "v")
	wantResult(t, results[1], Database, valueOf(keys[1]))
}

func TestGroupAFailedLoadIsAnError(t *testing.T) {
	d := &database{respond: func(c *call) { c.done(nil, errors.New("no")) }}
	g, _ := newGroup(t, Config{Address: "self:1"}, d)
	for _, keys := range [][]VersionedKey{versioned(2, "a"), versioned(2, "a", "b")} {
		for _, r := range g.Get(t.Context(), keys) {
			if r.Err == nil || r.Source != Nowhere {
				t.Errorf("got %q from %d", r.Value, r.Source)
			}
		}
	}
}

func TestGroupEmptyValues(t *testing.T) {
	d := &database{respond: func(c *call) { c.give(make([]string, len(c.keys))...) }}
	g, n := newGroup(t, Config{Address: "self:1"}, d)
	withPeers(t, g, n, "peer:1")
	n.peers["peer:1"] = func(keys []VersionedKey) ([]Result, error) {
		return slices.Repeat([]Result{{Source: Peer, Expires: Never}}, len(keys)), nil
	}
	own, theirs := keysOf(g, "", 3), keysOf(g, "peer:1", 3)
	for _, keys := range [][]VersionedKey{
		versioned(2, own[0]), versioned(2, theirs[0]), versioned(2, own[1], own[2], theirs[1], theirs[2]),
	} {
		for range 2 {
			for _, r := range g.Get(t.Context(), keys) {
				wantResult(t, r, r.Source, "")
			}
		}
	}
	wantLookup(t, g, versioned(2, own[0])[0], Own, "")
	wantLookup(t, g, versioned(2, theirs[0])[0], Hot, "")
}

func TestGroupPutGoesToTheOwnerOnly(t *testing.T) {
	g, n := newGroup(t, Config{Address: "self:1"}, nil)
	withPeers(t, g, n, "b:1", "c:1")
	own, theirs := keysOf(g, "", 1)[0], keysOf(g, "c:1", 1)[0]
	g.Put(7, versioned(2, own)[0], []byte("v"), 0)
	g.Put(7, versioned(2, theirs)[0], []byte("w"), 0)
	if want := []string{"c:1 7 " + theirs + " 2 w"}; !slices.Equal(n.puts, want) {
		t.Errorf("sent %q, want %q", n.puts, want)
	}
	wantLookup(t, g, versioned(2, own)[0], Own, "v")
	wantLookup(t, g, versioned(2, theirs)[0], Nowhere, "")
}

func TestGroupJoinsConcurrentReadsIntoOneRequest(t *testing.T) {
	g, n := newGroup(t, Config{Address: "self:1"}, nil)
	withPeers(t, g, n, "peer:1")
	release := make(chan struct{})
	n.peers["peer:1"] = func([]VersionedKey) ([]Result, error) {
		<-release
		return []Result{{Value: []byte("v"), Source: Peer, Expires: Never}}, nil
	}
	keys := versioned(2, keysOf(g, "peer:1", 1)[0])
	const reads = 20
	var wg sync.WaitGroup
	for range reads {
		wg.Go(func() { wantFirst(t, g.Get(t.Context(), keys), "v") })
	}
	eventually(t, "the request is sent", func() bool { return len(n.requests("peer:1")) == 1 })
	close(release)
	wg.Wait()
	// Reads that began while the request was under way joined it and are counted; the others found the hot copy.
	hits := g.hot.Stats().Hits
	if _, joined, _ := g.Loads(); int64(joined)+hits < reads-1 || len(n.requests("peer:1")) != 1 {
		t.Errorf("%d joined, %d hits, %d requests", joined, hits, len(n.requests("peer:1")))
	}
}

func wantFirst(t testing.TB, results []Result, value string) {
	t.Helper()
	wantResult(t, results[0], results[0].Source, value)
}

func TestGroupServesPeersWithoutRequestsOfItsOwn(t *testing.T) {
	d := &database{respond: give}
	g, n := newGroup(t, Config{Address: "self:1"}, d)
	withPeers(t, g, n, "peer:1")
	// The ring of the peer may differ from ours: we load keys that it requests, although they are its own here.
	keys := versioned(2, keysOf(g, "peer:1", 2)...)
	if _, ok := g.AsOwner.ServeNow(keys, 1000); ok {
		t.Error("ServeNow = true before a load")
	}
	for i, r := range g.AsOwner.Serve(t.Context(), keys, 1000) {
		wantResult(t, r, Database, valueOf(string(keys[i].Key)))
	}
	if results, ok := g.AsOwner.ServeNow(keys, 1000); !ok || len(results) != 2 {
		t.Errorf("ServeNow = %d results, %v after the load", len(results), ok)
	}
	if sent := n.requests("peer:1"); len(sent) > 0 {
		t.Errorf("the peer got requests for %v keys", sent)
	}
}

func TestGroupInConcurrentUse(t *testing.T) {
	d := &database{respond: give}
	g, n := newGroup(t, Config{Address: "self:1"}, d)
	withPeers(t, g, n, "b:1", "c:1")
	n.peers["c:1"] = func([]VersionedKey) ([]Result, error) { return nil, errors.New("no") }
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 200 {
				a, b := fmt.Sprint("key ", (i*j)%50), fmt.Sprint("key ", (i+j)%50)
				keys := versioned(uint64(j/50)*2, a, b)
				wantFirst(t, g.Get(t.Context(), keys), valueOf(a))
				wantFirst(t, g.Get(t.Context(), keys[1:]), valueOf(b))
				if j%20 == 0 {
					g.Put(7, keys[0], []byte(valueOf(a)), g.now())
				}
				if i == 0 && j%50 == 0 {
					if err := g.SetPeers([]string{"b:1", "c:1", "d:1"}[:j/50]); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestGroupCloseWithReadsUnderWay(t *testing.T) {
	d := &database{}
	g, _ := newGroup(t, Config{Address: "self:1"}, d)
	done := make(chan Result, 2)
	go func() { done <- g.Get(context.Background(), versioned(2, "a"))[0] }()
	go func() { done <- g.Get(context.Background(), versioned(2, "b", "c"))[0] }()
	d.call(t, 1)
	g.Close()
	for range 2 {
		if r := within(t, done); !errors.Is(r.Err, ErrClosed) {
			t.Errorf("got %q, %v", r.Value, r.Err)
		}
	}
	d.call(t, 0).give("late")
	wantLookup(t, g, versioned(2, "a")[0], Nowhere, "")
}

func TestGroupWithoutRoomStillAnswers(t *testing.T) {
	n := &network{}
	d := &database{respond: give}
	g, err := New(Config{Address: "self:1", Size: 0, Limits: roomy, Now: realClock}, n, d)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for range 2 {
		wantResult(t, g.Get(t.Context(), versioned(2, "a"))[0], Database, valueOf("a"))
	}
	if d.count() != 2 {
		t.Errorf("%d loads, want 2: with size 0 nothing is kept", d.count())
	}
}

func BenchmarkGroupLookup(b *testing.B) {
	g, _ := newGroup(b, Config{Address: "self:1"}, nil)
	key := VersionedKey{[]byte("database/object/0123456789abcdef0123456789abcdef"), 2}
	g.AsOwner.Keep(key, make([]byte, 1024), 0, Never)
	buf := make([]byte, 64<<10)
	for b.Loop() {
		g.Lookup(key, buf)
	}
}
