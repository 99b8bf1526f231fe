package cache

import (
	"errors"
	"testing"
)

func TestGetAsyncSendsOneRequestForConcurrentCalls(t *testing.T) {
	g, n := newGroup(t, Config{Address: "self"}, nil)
	withPeers(t, g, n, "peer")
	n.held = make(chan struct{})
	theirs := keysOf(g, "peer", 1)[0]
	key := VersionedKey{[]byte(theirs), 2}
	results := make(chan Result)
	for range 3 {
		if !g.GetAsync(key, func(r Result) { results <- r }) {
			t.Fatal("GetAsync = false")
		}
	}
	close(n.held)
	sources := make(map[Source]int)
	for range 3 {
		r := <-results
		sources[r.Source]++
		if r.Err != nil || string(r.Value) != valueOf(theirs) {
			t.Errorf("%q, %v", r.Value, r.Err)
		}
	}
	if sent := n.requests("peer"); len(sent) != 1 || sources[Peer] != 1 || sources[Deduplicated] != 2 {
		t.Errorf("%d requests, sources %v", len(sent), sources)
	}
	wantLookup(t, g, key, Hot, valueOf(theirs))
}

func TestGetAsyncRefusesOwnKeysAndPeersOutOfReach(t *testing.T) {
	g, n := newGroup(t, Config{Address: "self"}, nil)
	withPeers(t, g, n, "peer")
	fail := func(Result) { t.Error("done was called") }
	if g.GetAsync(VersionedKey{[]byte(keysOf(g, "", 1)[0]), 2}, fail) {
		t.Error("GetAsync = true for a key of this process")
	}
	theirs := VersionedKey{[]byte(keysOf(g, "peer", 1)[0]), 2}
	delete(n.peers, "peer")
	if g.GetAsync(theirs, fail) {
		t.Error("GetAsync = true for a key of a peer that cannot be reached")
	}
}

func TestGetAsyncReportsAFailureToAllAndKeepsNothing(t *testing.T) {
	g, n := newGroup(t, Config{Address: "self"}, nil)
	withPeers(t, g, n, "peer")
	n.peers["peer"] = func([]VersionedKey) ([]Result, error) { return nil, errors.New("no") }
	n.held = make(chan struct{})
	key := VersionedKey{[]byte(keysOf(g, "peer", 1)[0]), 2}
	results := make(chan Result)
	for range 2 {
		g.GetAsync(key, func(r Result) { results <- r })
	}
	close(n.held)
	for range 2 {
		if r := <-results; r.Err == nil || r.Source != Nowhere {
			t.Errorf("%+v", r)
		}
	}
	if len(g.async.waiting) != 0 {
		t.Errorf("%d requests are left over", len(g.async.waiting))
	}
}
