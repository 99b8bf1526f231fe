package cache

import "sync"

// soon is the names that peers are being asked for one by one, and who waits for each.
type soon struct {
	mu      sync.Mutex
	waiting map[string][]func(Result)
}

// join adds who waits for a name, and tells whether it is the first, who has to ask.
func (s *soon) join(key string, done func(Result)) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = make(map[string][]func(Result))
	}
	_, asked := s.waiting[key]
	s.waiting[key] = append(s.waiting[key], done)
	return !asked
}

func (s *soon) finish(key string, r Result) {
	s.mu.Lock()
	waiting := s.waiting[key]
	delete(s.waiting, key)
	s.mu.Unlock()
	for i, done := range waiting {
		if i == 1 && r.Err == nil {
			r.Source = Shared
		}
		done(r)
	}
}

// GetSoon asks the owner of a name for its value, without a goroutine: a peer that has it in
// memory answers sooner than goroutines are scheduled. It is false where there is no other
// owner, or none to be asked now. done is called once and must not block; with an error
// [Group.Get] is the way.
func (g *Group) GetSoon(name Name, done func(Result)) bool {
	owner := g.Owner(name.Key)
	if owner == "" {
		return false
	}
	ask := g.peers.Asker(owner)
	if ask == nil {
		return false
	}
	key := name.ringKey()
	if !g.soon.join(key, done) {
		g.Shared.Add(1)
		return true
	}
	ask(name, func(r Result) {
		if r.Err == nil {
			g.PeerLoads.Add(1)
			g.hot.Add(name.Key, name.Version, r.Value, expiry(g.ttl))
		}
		g.soon.finish(key, r)
	})
	return true
}
