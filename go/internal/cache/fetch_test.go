package cache

import (
	"context"
	"testing"
)

// A request that was given up has no use for the database.
func TestAnAbandonedRequestLoadsNothing(t *testing.T) {
	d := &database{respond: give}
	g, n := newGroup(t, Config{Address: "self:1"}, d)
	withPeers(t, g, n, "peer:1")
	ctx, giveUp := context.WithCancel(t.Context())
	n.peers["peer:1"] = func([]VersionedKey) ([]Result, error) {
		giveUp()
		return nil, ctx.Err()
	}
	for _, r := range g.Get(ctx, versioned(2, keysOf(g, "peer:1", 2)...)) {
		if r.Err == nil {
			t.Errorf("got %q from %d", r.Value, r.Source)
		}
	}
	if d.count() != 0 {
		t.Errorf("%d loads", d.count())
	}
}

// The TTL of a hot copy counts from the request, however late the answer comes.
func TestTheTTLOfACopyBeginsWithTheRequest(t *testing.T) {
	clock := int64(1000)
	g, n := newGroup(t, Config{Address: "self:1", TTL: 10, Now: func() int64 { return clock }}, nil)
	withPeers(t, g, n, "peer:1")
	answer := n.peers["peer:1"]
	n.peers["peer:1"] = func(keys []VersionedKey) ([]Result, error) {
		clock += 3
		return answer(keys)
	}
	for i, key := range versioned(2, keysOf(g, "peer:1", 2)...) {
		sent := clock
		if i == 0 {
			g.Get(t.Context(), []VersionedKey{key})
		} else if !g.GetAsync(key, func(Result) {}) {
			t.Fatal("GetAsync = false")
		}
		if _, expires, source := g.Lookup(key, nil); source != Hot || expires != sent+10 {
			t.Errorf("way %d: the source is %d, the request was sent at %d, its value expires at %d", i, source, sent, expires)
		}
	}
}

func TestGroupHasItsOwnValuesAndItsCopies(t *testing.T) {
	g, n := newGroup(t, Config{Address: "self:1"}, nil)
	withPeers(t, g, n, "peer:1")
	for _, key := range versioned(2, keysOf(g, "", 1)[0], keysOf(g, "peer:1", 1)[0]) {
		if g.Has(key) {
			t.Errorf("Has(%s) = true before it was read", key.Key)
		}
		g.Get(t.Context(), []VersionedKey{key})
		if !g.Has(key) {
			t.Errorf("Has(%s) = false after it was read", key.Key)
		}
	}
}
