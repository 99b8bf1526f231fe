package cache

import (
	"context"
	"testing"
)

// Nobody waits for the database any more, so it is not asked.
func TestWhoHasGivenUpLoadsNothing(t *testing.T) {
	d := &database{respond: give}
	g, n := newGroup(t, Config{Address: "self:1"}, d)
	withPeers(t, g, n, "peer:1")
	ctx, giveUp := context.WithCancel(t.Context())
	n.peers["peer:1"] = func([]VersionedKey) ([]Result, error) {
		giveUp()
		return nil, ctx.Err()
	}
	for _, r := range g.Get(ctx, names(2, keysOf(g, "peer:1", 2)...)) {
		if r.Err == nil {
			t.Errorf("got %q from %d", r.Value, r.Source)
		}
	}
	if d.count() != 0 {
		t.Errorf("the database was asked %d times", d.count())
	}
}

// A copy that stays for as long as the own ttl allows does so from the question on, however late
// the answer comes.
func TestTheOwnTTLOfACopyBeginsWithTheQuestion(t *testing.T) {
	clock := int64(1000)
	g, n := newGroup(t, Config{Address: "self:1", TTL: 10, Now: func() int64 { return clock }}, nil)
	withPeers(t, g, n, "peer:1")
	answer := n.peers["peer:1"]
	n.peers["peer:1"] = func(names []VersionedKey) ([]Result, error) {
		clock += 3
		return answer(names)
	}
	for i, wanted := range names(2, keysOf(g, "peer:1", 2)...) {
		asked := clock
		if i == 0 {
			g.Get(t.Context(), []VersionedKey{wanted})
		} else if !g.GetAsync(wanted, func(Result) {}) {
			t.Fatal("the peer was not asked")
		}
		if _, expires, source := g.Lookup(wanted, nil); source != Hot || expires != asked+10 {
			t.Errorf("way %d: a copy from %d that was asked for at %d ends at %d", i, source, asked, expires)
		}
	}
}

func TestGroupHasWhatItOwnsAndWhatItHasCopied(t *testing.T) {
	g, n := newGroup(t, Config{Address: "self:1"}, nil)
	withPeers(t, g, n, "peer:1")
	for _, wanted := range names(2, keysOf(g, "", 1)[0], keysOf(g, "peer:1", 1)[0]) {
		if g.Has(wanted) {
			t.Errorf("%s is there before it was read", wanted.Key)
		}
		g.Get(t.Context(), []VersionedKey{wanted})
		if !g.Has(wanted) {
			t.Errorf("%s is not there after it was read", wanted.Key)
		}
	}
}
