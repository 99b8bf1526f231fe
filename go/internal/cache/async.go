package cache

import (
	"errors"
	"sync"
)

// soon is the names that peers are being asked for one by one, and who waits for each.
type soon struct {
	mu      sync.Mutex
	waiting map[string][]waiter
}

// waiter is a request that began at an instant.
type waiter struct {
	begun int64
	done  func(Result)
}

// errEnded is for a request that has shared one that began so early that its value had ended
// before.
var errEnded = errors.New("cache: the value ended before the request began")

// join adds a request for a name, and tells whether it is the first, which has to ask.
func (s *soon) join(key string, w waiter) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = make(map[string][]waiter)
	}
	_, asked := s.waiting[key]
	s.waiting[key] = append(s.waiting[key], w)
	return !asked
}

func (s *soon) finish(key string, r Result) {
	s.mu.Lock()
	waiting := s.waiting[key]
	delete(s.waiting, key)
	s.mu.Unlock()
	for i, w := range waiting {
		if i == 1 && r.Err == nil {
			r.Source = Deduplicated
		}
		if i > 0 && r.Err == nil && r.Expires <= w.begun {
			w.done(Result{Err: errEnded})
			continue
		}
		w.done(r)
	}
}

// GetAsync asks the owner of a name for its value, without a goroutine: a peer that has it in
// memory answers sooner than goroutines are scheduled. It is false where there is no other
// owner, or none to be asked now. done is called once and must not block; with an error
// [Group.Get] is the way.
func (g *Group) GetAsync(name VersionedKey, done func(Result)) bool {
	owner := g.Owner(name.Key)
	if owner == "" {
		return false
	}
	ask := g.peers.Fetcher(owner)
	if ask == nil {
		return false
	}
	key, begun := name.ringKey(), g.now()
	if !g.soon.join(key, waiter{begun, done}) {
		g.deduplicated.Add(1)
		return true
	}
	ask(name, func(r Result) {
		if r.Err == nil {
			g.PeerLoads.Add(1)
			r.Expires = min(r.Expires, expiry(begun, g.ttl))
			g.hot.Add(name.Key, name.Version, r.Value, r.Expires)
		}
		g.soon.finish(key, r)
	})
	return true
}
