package cache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// clockedOwner returns an owner with a ttl of 10, and its clock, which shows 1000 until it is set.
func clockedOwner(t *testing.T, d *database, limits Limits) (*Owner, *atomic.Int64) {
	clock := &atomic.Int64{}
	clock.Store(1000)
	store := newStore(t, clock.Load)
	o := NewOwner(store, d, 10, clock.Load, limits)
	t.Cleanup(o.Close)
	return o, clock
}

// A load that takes longer than the ttl is shared by those who asked in time.
func TestALoadIsNotSharedByWhoAsksWhenItsValueHasEnded(t *testing.T) {
	d := &database{}
	o, clock := clockedOwner(t, d, Limits{Flights: 2, LoadTimeout: patience})
	first := asks(t.Context(), o, names(2, "a"))
	d.call(t, 0)
	clock.Store(1009)
	inTime := asks(t.Context(), o, names(2, "a"))
	eventually(t, "one shares the load", func() bool { return o.Deduplicated.Load() == 1 })
	clock.Store(1010)
	late := asks(t.Context(), o, names(2, "a"))
	d.call(t, 1)
	// What has outlived its value still counts, so that the limit holds.
	if r := o.Get(t.Context(), names(2, "b"))[0]; !errors.Is(r.Err, ErrOverload) {
		t.Errorf("got %v, want %v", r.Err, ErrOverload)
	}
	d.call(t, 1).give("new")
	wantResult(t, within(t, late)[0], Database, "new")
	d.call(t, 0).give("old")
	wantResult(t, within(t, first)[0], Database, "old")
	wantResult(t, within(t, inTime)[0], Deduplicated, "old")
	wantResult(t, o.Get(t.Context(), names(2, "a"))[0], Own, "new")
	if len(o.flights) != 0 || len(o.all) != 0 {
		t.Errorf("%d loads are left over", len(o.all))
	}
}

// One that has outlived its value and ends later takes nothing from the load that came after it.
func TestALoadThatHasOutlivedItsValueLeavesTheNextOneShared(t *testing.T) {
	d := &database{}
	o, clock := clockedOwner(t, d, roomy)
	first := asks(t.Context(), o, names(2, "a"))
	d.call(t, 0)
	clock.Store(1010)
	second := asks(t.Context(), o, names(2, "a"))
	d.call(t, 1)
	d.call(t, 0).give("old")
	wantResult(t, within(t, first)[0], Database, "old")
	third := asks(t.Context(), o, names(2, "a"))
	eventually(t, "the third asks, or shares", func() bool { return o.Deduplicated.Load() == 1 || d.count() > 2 })
	if d.count() > 2 {
		t.Fatal("what is being loaded is loaded once more")
	}
	d.call(t, 1).give("new")
	wantResult(t, within(t, second)[0], Database, "new")
	wantResult(t, within(t, third)[0], Deduplicated, "new")
}

func TestCloseEndsALoadThatHasOutlivedItsValue(t *testing.T) {
	d := &database{}
	o, clock := clockedOwner(t, d, roomy)
	first := asks(t.Context(), o, names(2, "a"))
	d.call(t, 0)
	clock.Store(1010)
	second := asks(t.Context(), o, names(2, "a"))
	d.call(t, 1)
	o.Close()
	for _, answer := range []<-chan []Result{first, second} {
		if r := within(t, answer)[0]; !errors.Is(r.Err, ErrClosed) {
			t.Errorf("got %v, want %v", r.Err, ErrClosed)
		}
	}
}

// heldPeer is a group with a peer whose first answer waits until it is released. What it gives ends
// 10 after the question, of which it tells; the clock shows 1000 until it is set.
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
		asked := h.clock.Load()
		if asked == 1000 {
			<-h.release
		}
		return []Result{{Value: fmt.Append(nil, "of ", asked), Source: Peer, Expires: asked + 10}}, nil
	}
	return h
}

// getLater gets a name in the background, and returns when it has looked into the hot store as often
// as one does who then waits for another one's request: it has that many looks before it.
func (h *heldPeer) getLater(t *testing.T, name VersionedKey, looks int64) <-chan Result {
	answer := make(chan Result, 1)
	go func() { answer <- h.Get(context.Background(), []VersionedKey{name})[0] }()
	eventually(t, "it waits", func() bool { return h.hot.Stats().Gets == looks })
	return answer
}

// groupcache lets all share who come while a request, or a load, is under way.
func TestWhoCameWhenTheValueHadEndedSharesNoRequest(t *testing.T) {
	h := newHeldPeer(t, 0, nil)
	name := names(2, keysOf(h.Group, "peer:1", 1)...)[0]
	first := h.getLater(t, name, 3)
	eventually(t, "the peer is asked", func() bool { return len(h.network.questions("peer:1")) == 1 })
	h.clock.Store(1009)
	inTime := h.getLater(t, name, 5)
	h.clock.Store(1010)
	late := h.getLater(t, name, 7)
	close(h.release)
	wantResult(t, within(t, first), Peer, "of 1000")
	if r := within(t, inTime); string(r.Value) != "of 1000" && string(r.Value) != "of 1010" {
		t.Errorf("who came in time got %q, %v", r.Value, r.Err)
	}
	wantResult(t, within(t, late), Peer, "of 1010")
}

func TestWhoCameWhenTheValueHadEndedSharesNoLoadThroughGroupcache(t *testing.T) {
	d := &database{}
	h := newHeldPeer(t, 10, d)
	name := names(2, keysOf(h.Group, "", 1)...)[0]
	first := h.getLater(t, name, 3)
	d.call(t, 0)
	h.clock.Store(1010)
	late := h.getLater(t, name, 5)
	d.call(t, 0).give("old")
	wantResult(t, within(t, first), Database, "old")
	d.call(t, 1).give("new")
	wantResult(t, within(t, late), Database, "new")
}

func TestWhoAsksSoonWhenTheValueHasEndedSharesNoRequest(t *testing.T) {
	for what, ttl := range map[string]time.Duration{"by the peer's ttl": 0, "by the own ttl": 5} {
		h := newHeldPeer(t, ttl, nil)
		name := names(2, keysOf(h.Group, "peer:1", 1)...)[0]
		first, inTime, late := make(chan Result, 1), make(chan Result, 1), make(chan Result, 1)
		go h.GetAsync(name, func(r Result) { first <- r })
		eventually(t, "the peer is asked", func() bool { return len(h.network.questions("peer:1")) == 1 })
		h.clock.Store(1004)
		h.GetAsync(name, func(r Result) { inTime <- r })
		h.clock.Store(1010 - int64(ttl))
		h.GetAsync(name, func(r Result) { late <- r })
		close(h.release)
		wantResult(t, within(t, first), Peer, "of 1000")
		wantResult(t, within(t, inTime), Deduplicated, "of 1000")
		if r := within(t, late); !errors.Is(r.Err, errEnded) {
			t.Errorf("%s: who asked when it had ended got %q, %v", what, r.Value, r.Err)
		}
	}
}
