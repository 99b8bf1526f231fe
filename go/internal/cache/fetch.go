package cache

import (
	"context"
	"errors"
	"sync"
)

// getMany fills in the missing results. It goes round groupcache, which asks name by name.
func (g *Group) getMany(ctx context.Context, names []VersionedKey, missing []int, results []Result) {
	byOwner := make(map[string][]int)
	for _, i := range missing {
		owner := g.Owner(names[i].Key)
		byOwner[owner] = append(byOwner[owner], i)
	}
	var wg sync.WaitGroup
	for owner, at := range byOwner {
		wg.Go(func() {
			asked := pick(names, at)
			for j, r := range g.ask(ctx, owner, asked) {
				results[at[j]] = r
			}
		})
	}
	wg.Wait()
}

// ask gets names from their owner, and what the owner does not give from the database.
func (g *Group) ask(ctx context.Context, owner string, names []VersionedKey) []Result {
	if owner == "" {
		return g.AsOwner.Get(ctx, names)
	}
	results := g.fromPeer(ctx, owner, names)
	var failed []int
	for i, r := range results {
		if r.Err != nil {
			failed = append(failed, i)
			continue
		}
		g.hot.Add(names[i].Key, names[i].Version, r.Value, r.Expires)
	}
	if len(failed) > 0 && ctx.Err() == nil {
		for j, r := range g.AsOwner.Get(ctx, pick(names, failed)) {
			results[failed[j]] = r
		}
	}
	return results
}

// fromPeer asks a peer and counts; a failure is every name's. What it gives lives no longer
// here than what is loaded here: the peer may have another ttl.
func (g *Group) fromPeer(ctx context.Context, address string, names []VersionedKey) []Result {
	longest := expiry(g.now(), g.ttl)
	results, err := g.peers.Get(ctx, address, names)
	if err == nil && len(results) != len(names) {
		err = errors.New("the peer answered for other names than it was asked for")
	}
	if err != nil {
		results = make([]Result, len(names))
		for i := range results {
			results[i].Err = err
		}
	}
	for i := range results {
		if results[i].Err != nil {
			g.PeerErrors.Add(1)
			continue
		}
		g.PeerLoads.Add(1)
		results[i].Expires = min(results[i].Expires, longest)
	}
	return results
}

func pick(names []VersionedKey, at []int) []VersionedKey {
	picked := make([]VersionedKey, len(at))
	for i, n := range at {
		picked[i] = names[n]
	}
	return picked
}
