package cache

import (
	"errors"
	"sync"
)

// asyncRequests are the requests of [Group.GetAsync] under way, one per versioned key, and the callers that wait for
// each.
type asyncRequests struct {
	mu      sync.Mutex
	waiting map[string][]waiter // by ring key
}

// waiter is a call of GetAsync that began at an instant.
type waiter struct {
	begun int64
	done  func(Result)
}

// errExpired is the result of a call that joined a request so old that its value had expired before the call began.
var errExpired = errors.New("cache: the value expired before the request began")

// join adds a call, and reports whether it is the first for its key, which has to send the request.
func (a *asyncRequests) join(ringKey string, w waiter) (first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = make(map[string][]waiter)
	}
	_, underWay := a.waiting[ringKey]
	a.waiting[ringKey] = append(a.waiting[ringKey], w)
	return !underWay
}

// finish passes the result of a request to the calls that wait for it.
func (a *asyncRequests) finish(ringKey string, r Result) {
	a.mu.Lock()
	waiting := a.waiting[ringKey]
	delete(a.waiting, ringKey)
	a.mu.Unlock()
	for i, w := range waiting {
		switch {
		case i == 0 || r.Err != nil:
			w.done(r)
		case r.Expires <= w.begun:
			w.done(Result{Err: errExpired})
		default:
			w.done(Result{Value: r.Value, Source: Deduplicated, Expires: r.Expires})
		}
	}
}

// GetAsync requests a key from its owner without blocking and without a goroutine: an owner that has the value in
// memory answers faster than a goroutine is scheduled. Concurrent calls for one key share one request. It returns
// false, and does nothing, if this process is the owner, or if no request can be sent to the owner now. Otherwise done
// is called once, and must not block; after an error the caller falls back to [Group.Get].
func (g *Group) GetAsync(key VersionedKey, done func(Result)) bool {
	owner := g.Owner(key.Key)
	if owner == "" {
		return false
	}
	fetch := g.peers.Fetcher(owner)
	if fetch == nil {
		return false
	}
	ringKey, begun := key.ringKey(), g.now()
	if !g.async.join(ringKey, waiter{begun, done}) {
		g.deduplicated.Add(1)
		return true
	}
	fetch(key, func(r Result) {
		if r.Err == nil {
			g.PeerLoads.Add(1)
			r.Expires = min(r.Expires, expiry(begun, g.ttl))
			g.hot.Add(key.Key, key.Version, r.Value, r.Expires)
		}
		g.async.finish(ringKey, r)
	})
	return true
}
