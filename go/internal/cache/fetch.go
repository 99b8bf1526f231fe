package cache

import (
	"context"
	"errors"
	"sync"
)

// getMany fills in the missing results, with one request to each owner. It does not use groupcache, which requests key
// by key.
func (g *Group) getMany(ctx context.Context, keys []VersionedKey, missing []int, results []Result) {
	byOwner := make(map[string][]int)
	for _, i := range missing {
		owner := g.Owner(keys[i].Key)
		byOwner[owner] = append(byOwner[owner], i)
	}
	var wg sync.WaitGroup
	for owner, indices := range byOwner {
		wg.Go(func() {
			for j, r := range g.fetch(ctx, owner, pick(keys, indices)) {
				results[indices[j]] = r
			}
		})
	}
	wg.Wait()
}

// fetch gets keys from their owner, and from the database those that the owner could not give.
func (g *Group) fetch(ctx context.Context, owner string, keys []VersionedKey) []Result {
	if owner == "" {
		return g.AsOwner.Get(ctx, keys)
	}
	results := g.fromPeer(ctx, owner, keys)
	var failed []int
	for i, r := range results {
		if r.Err != nil {
			failed = append(failed, i)
			continue
		}
		g.hot.Add(keys[i].Key, keys[i].Version, r.Value, r.Expires)
	}
	if len(failed) > 0 && ctx.Err() == nil {
		for j, r := range g.AsOwner.Get(ctx, pick(keys, failed)) {
			results[failed[j]] = r
		}
	}
	return results
}

// fromPeer requests keys from a peer and counts the results; if the request fails, so does every key. The peer may have
// another TTL: what it gives expires no later here than a value that were loaded here now.
func (g *Group) fromPeer(ctx context.Context, address string, keys []VersionedKey) []Result {
	latest := expiry(g.now(), g.ttl)
	results, err := g.peers.Get(ctx, address, keys)
	if err == nil && len(results) != len(keys) {
		err = errors.New("the peer answered for other keys than were requested")
	}
	if err != nil {
		results = make([]Result, len(keys))
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
		results[i].Expires = min(results[i].Expires, latest)
	}
	return results
}

// pick returns the keys at the given indices.
func pick(keys []VersionedKey, indices []int) []VersionedKey {
	picked := make([]VersionedKey, len(indices))
	for i, index := range indices {
		picked[i] = keys[index]
	}
	return picked
}
