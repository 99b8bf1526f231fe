package cache

import (
	"errors"
	"testing"
)

func TestSoonAsksTheOwnerOnceForAllWhoWait(t *testing.T) {
	g, n := newGroup(t, Config{Address: "self"}, nil)
	withPeers(t, g, n, "peer")
	n.held = make(chan struct{})
	key := keysOf(g, "peer", 1)[0]
	name := VersionedKey{[]byte(key), 2}
	results := make(chan Result)
	for range 3 {
		if !g.GetAsync(name, func(r Result) { results <- r }) {
			t.Fatal("a peer was not asked")
		}
	}
	close(n.held)
	sources := make(map[Source]int)
	for range 3 {
		r := <-results
		sources[r.Source]++
		if r.Err != nil || string(r.Value) != valueOf(key) {
			t.Errorf("%q, %v", r.Value, r.Err)
		}
	}
	if asked := n.questions("peer"); len(asked) != 1 || sources[Peer] != 1 || sources[Deduplicated] != 2 {
		t.Errorf("asked %d times, sources %v", len(asked), sources)
	}
	wantLookup(t, g, name, Hot, valueOf(key))
}

func TestSoonIsNotForOwnKeysOrPeersOutOfReach(t *testing.T) {
	g, n := newGroup(t, Config{Address: "self"}, nil)
	withPeers(t, g, n, "peer")
	never := func(Result) { t.Error("somebody was asked") }
	if g.GetAsync(VersionedKey{[]byte(keysOf(g, "", 1)[0]), 2}, never) {
		t.Error("asks a peer for an own key")
	}
	theirs := VersionedKey{[]byte(keysOf(g, "peer", 1)[0]), 2}
	delete(n.peers, "peer")
	if g.GetAsync(theirs, never) {
		t.Error("asks a peer that cannot be reached")
	}
}

func TestSoonTellsEveryoneOfAFailureAndKeepsNothing(t *testing.T) {
	g, n := newGroup(t, Config{Address: "self"}, nil)
	withPeers(t, g, n, "peer")
	n.peers["peer"] = func([]VersionedKey) ([]Result, error) { return nil, errors.New("no") }
	n.held = make(chan struct{})
	name := VersionedKey{[]byte(keysOf(g, "peer", 1)[0]), 2}
	results := make(chan Result)
	for range 2 {
		g.GetAsync(name, func(r Result) { results <- r })
	}
	close(n.held)
	for range 2 {
		if r := <-results; r.Err == nil || r.Source != Nowhere {
			t.Errorf("%+v", r)
		}
	}
	if len(g.soon.waiting) != 0 {
		t.Error("somebody still waits")
	}
}
