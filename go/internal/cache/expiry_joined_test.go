package cache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// clockedOwner returns an owner with a TTL of 10, and its clock, which stands at 1000 until it is set.
func clockedOwner(t *testing.T, d *database, limits Limits) (*Owner, *atomic.Int64) {
	clock := &atomic.Int64{}
	clock.Store(1000)
	store := newStore(t, clock.Load)
	o := NewOwner(store, d, 10, clock.Load, limits)
	t.Cleanup(o.Close)
	return o, clock
}

// A load that takes longer than the TTL is joined only by requests that begin before its value expires.
func TestOwnerALateRequestDoesNotJoinALoadWhoseValueHasExpired(t *testing.T) {
	d := &database{}
	o, clock := clockedOwner(t, d, Limits{Flights: 2, LoadTimeout: patience})
	first := startGet(t.Context(), o, versioned(2, "a"))
	d.call(t, 0)
	clock.Store(1009)
	inTime := startGet(t.Context(), o, versioned(2, "a"))
	eventually(t, "one joins the load", func() bool { return o.Deduplicated.Load() == 1 })
	clock.Store(1010)
	late := startGet(t.Context(), o, versioned(2, "a"))
	d.call(t, 1)
	// A load whose value has expired still counts for the limit.
	if r := o.Get(t.Context(), versioned(2, "b"))[0]; !errors.Is(r.Err, ErrOverload) {
		t.Errorf("got %v, want %v", r.Err, ErrOverload)
	}
	d.call(t, 1).give("new")
	wantResult(t, within(t, late)[0], Database, "new")
	d.call(t, 0).give("old")
	wantResult(t, within(t, first)[0], Database, "old")
	wantResult(t, within(t, inTime)[0], Deduplicated, "old")
	wantResult(t, o.Get(t.Context(), versioned(2, "a"))[0], Own, "new")
	if len(o.flights) != 0 || len(o.all) != 0 {
		t.Errorf("%d loads are left over", len(o.all))
	}
}

// When a load whose value has expired finishes, requests can still join the load that came after it.
func TestOwnerAnExpiredLoadDoesNotEndTheNextOne(t *testing.T) {
	d := &database{}
	o, clock := clockedOwner(t, d, roomy)
	first := startGet(t.Context(), o, versioned(2, "a"))
	d.call(t, 0)
	clock.Store(1010)
	second := startGet(t.Context(), o, versioned(2, "a"))
	d.call(t, 1)
	d.call(t, 0).give("old")
	wantResult(t, within(t, first)[0], Database, "old")
	third := startGet(t.Context(), o, versioned(2, "a"))
	eventually(t, "the third loads, or joins", func() bool { return o.Deduplicated.Load() == 1 || d.count() > 2 })
	if d.count() > 2 {
		t.Fatal("a key was loaded twice at once")
	}
	d.call(t, 1).give("new")
	wantResult(t, within(t, second)[0], Database, "new")
	wantResult(t, within(t, third)[0], Deduplicated, "new")
}

func TestOwnerCloseEndsALoadWhoseValueHasExpired(t *testing.T) {
	d := &database{}
	o, clock := clockedOwner(t, d, roomy)
	first := startGet(t.Context(), o, versioned(2, "a"))
	d.call(t, 0)
	clock.Store(1010)
	second := startGet(t.Context(), o, versioned(2, "a"))
	d.call(t, 1)
	o.Close()
	for _, answer := range []<-chan []Result{first, second} {
		if r := within(t, answer)[0]; !errors.Is(r.Err, ErrClosed) {
			t.Errorf("got %v, want %v", r.Err, ErrClosed)
		}
	}
}

// heldPeer is a group with a peer that holds back its answer to a request of instant 1000, where the clock stands until
// it is set. The peer's values contain the instant of their request and expire 10 after it.
type heldPeer struct {
	*Group
	network *network
	clock   atomic.Int64
	release chan struct{}
}

func newHeldPeer(t *testing.T, ttl time.Duration, d *database) *heldPeer {
	h := &heldPeer{release: make(chan struct{})}
	h.clock.Store(1000)
	h.Group, h.network = newGroup(t, Config{Address: "self:1", TTL: ttl, Now: h.clock.Load}, d)
	withPeers(t, h.Group, h.network, "peer:1")
	h.network.peers["peer:1"] = func([]VersionedKey) ([]Result, error) {
		sent := h.clock.Load()
		if sent == 1000 {
			<-h.release
		}
		return []Result{{Value: fmt.Append(nil, "of ", sent), Source: Peer, Expires: sent + 10}}, nil
	}
	return h
}

// startGet calls Get in the background. It returns when the hot store has counted that many Gets in total, the last of
// them right before the call waits.
func (h *heldPeer) startGet(t *testing.T, key VersionedKey, gets int64) <-chan Result {
	answer := make(chan Result, 1)
	go func() { answer <- h.Get(context.Background(), []VersionedKey{key})[0] }()
	eventually(t, "it waits", func() bool { return h.hot.Stats().Gets == gets })
	return answer
}

// groupcache joins all reads that begin while a request or a load is under way.
func TestGroupALateReadDoesNotJoinARequestWhoseValueHasExpired(t *testing.T) {
	h := newHeldPeer(t, 0, nil)
	key := versioned(2, keysOf(h.Group, "peer:1", 1)...)[0]
	first := h.startGet(t, key, 3)
	eventually(t, "the request is sent", func() bool { return len(h.network.requests("peer:1")) == 1 })
	h.clock.Store(1009)
	inTime := h.startGet(t, key, 5)
	h.clock.Store(1010)
	late := h.startGet(t, key, 7)
	close(h.release)
	wantResult(t, within(t, first), Peer, "of 1000")
	if r := within(t, inTime); string(r.Value) != "of 1000" && string(r.Value) != "of 1010" {
		t.Errorf("the read that began in time got %q, %v", r.Value, r.Err)
	}
	wantResult(t, within(t, late), Peer, "of 1010")
}

func TestGroupALateReadDoesNotJoinALoadWhoseValueHasExpired(t *testing.T) {
	d := &database{}
	h := newHeldPeer(t, 10, d)
	key := versioned(2, keysOf(h.Group, "", 1)...)[0]
	first := h.startGet(t, key, 3)
	d.call(t, 0)
	h.clock.Store(1010)
	late := h.startGet(t, key, 5)
	d.call(t, 0).give("old")
	wantResult(t, within(t, first), Database, "old")
	d.call(t, 1).give("new")
	wantResult(t, within(t, late), Database, "new")
}

func TestGetAsyncDoesNotJoinARequestWhoseValueHasExpired(t *testing.T) {
	for what, ttl := range map[string]time.Duration{"by the peer's TTL": 0, "by the TTL here": 5} {
		h := newHeldPeer(t, ttl, nil)
		key := versioned(2, keysOf(h.Group, "peer:1", 1)...)[0]
		first, inTime, late := make(chan Result, 1), make(chan Result, 1), make(chan Result, 1)
		go h.GetAsync(key, func(r Result) { first <- r })
		eventually(t, "the request is sent", func() bool { return len(h.network.requests("peer:1")) == 1 })
		h.clock.Store(1004)
		h.GetAsync(key, func(r Result) { inTime <- r })
		h.clock.Store(1010 - int64(ttl))
		h.GetAsync(key, func(r Result) { late <- r })
		close(h.release)
		wantResult(t, within(t, first), Peer, "of 1000")
		wantResult(t, within(t, inTime), Deduplicated, "of 1000")
		if r := within(t, late); !errors.Is(r.Err, errExpired) {
			t.Errorf("%s: the late call got %q, %v", what, r.Value, r.Err)
		}
	}
}
