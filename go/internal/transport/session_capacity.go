package transport

import (
	"slices"
	"time"
)

// A process that has the secret, or runs as the same user, can open any number of sessions. So
// sessions of processes with a row in the members table (Options.Listed, "listed") and without one
// ("unlisted") are counted apart: an unlisted session never costs a member its own. Of the unlisted
// ones, a session of the source that has the most is evicted for the next. Of one process, which has
// proved its incarnation, the newest sessions are kept: it dials again for a reason, such as a
// connection that broke and still seems open here for some seconds.

// register keeps a session, and evicts others where they must make room for it.
func (t *Transport) register(s *Session) error {
	t.mu.Lock()
	evicted, err := t.registerLocked(s)
	t.mu.Unlock()
	t.endEvicted(evicted)
	return err
}

func (t *Transport) endEvicted(evicted []*Session) {
	for _, s := range evicted {
		s.end(faultf(ReasonBusy, "evicted for another session: one process may have %d, processes without a row in the"+
			" members table %d, half of these from one source", t.limits.PerProcess, t.limits.Unlisted))
	}
}

// registerLocked registers a session and counts its two goroutines. The caller holds mu.
func (t *Transport) registerLocked(s *Session) (evicted []*Session, err error) {
	if !s.outgoing {
		evicted = t.evictForInbound(s)
	}
	for _, other := range evicted {
		t.removeLocked(other)
	}
	if s.outgoing || t.isListed(s) {
		evicted = append(evicted, t.evictForMember()...)
	}
	if err := t.checkCapacity(); err != nil {
		return evicted, err
	}
	t.sessions[s] = struct{}{}
	if !s.outgoing {
		s.listedAt = time.Now()
		t.inbound = append(t.inbound, s)
	}
	t.group.Add(2)
	return evicted, nil
}

// registerLane keeps a lane, and evicts an unlisted session where it must make room for it.
func (t *Transport) registerLane(l *Lane) error {
	t.mu.Lock()
	evicted := t.evictForMember()
	err := t.checkCapacity()
	if err == nil {
		t.lanes[l] = struct{}{}
		t.counters.dialled.Add(1)
	}
	t.mu.Unlock()
	t.endEvicted(evicted)
	return err
}

// checkCapacity returns why there may not be one more session or lane. The caller holds mu.
func (t *Transport) checkCapacity() error {
	if t.closed {
		return ErrClosed
	}
	if len(t.sessions)+len(t.lanes) >= t.limits.Sessions {
		return faultf(ReasonBusy, "%w: there are %d sessions, and no more are allowed", ErrOverload, t.limits.Sessions)
	}
	return nil
}

// evictForMember returns the unlisted session that is evicted when Limits.Sessions is reached and a
// member, or this process itself, needs a session. The caller holds mu.
func (t *Transport) evictForMember() []*Session {
	unlisted := t.unlisted(nil)
	if len(t.sessions)+len(t.lanes) < t.limits.Sessions || len(unlisted) == 0 {
		return nil
	}
	s := unlisted[oldestOfBusiest(unlisted, sessionSource)]
	t.removeLocked(s)
	return []*Session{s}
}

// evictForInbound returns the sessions that an inbound session replaces. The caller holds mu.
func (t *Transport) evictForInbound(s *Session) (evicted []*Session) {
	own := filter(t.inbound, func(other *Session) bool { return other.peer.Incarnation == s.peer.Incarnation })
	if len(own) >= t.limits.PerProcess {
		evicted = append(evicted, own[0])
	}
	if t.isListed(s) {
		return evicted
	}
	unlisted := t.unlisted(evicted)
	same := filter(unlisted, func(other *Session) bool { return other.source == s.source })
	switch {
	case len(same) >= max(t.limits.Unlisted/2, 1): // one source leaves room for others
		evicted = append(evicted, same[0])
	case len(unlisted) >= t.limits.Unlisted:
		evicted = append(evicted, unlisted[oldestOfBusiest(unlisted, sessionSource)])
	}
	return evicted
}

// unlisted returns the inbound sessions of processes without a row, oldest first, except some.
func (t *Transport) unlisted(except []*Session) []*Session {
	return filter(t.inbound, func(s *Session) bool { return !t.isListed(s) && !slices.Contains(except, s) })
}

func (t *Transport) isListed(s *Session) bool { return t.listed == nil || t.listed(s.peer.Incarnation) }

func sessionSource(s *Session) string { return s.source }

func filter(list []*Session, keep func(*Session) bool) (kept []*Session) {
	for _, s := range list {
		if keep(s) {
			kept = append(kept, s)
		}
	}
	return kept
}

func (t *Transport) remove(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeLocked(s)
}

func (t *Transport) removeLocked(s *Session) {
	delete(t.sessions, s)
	if i := slices.Index(t.inbound, s); i >= 0 {
		t.inbound = slices.Delete(t.inbound, i, i+1)
	}
}

func (t *Transport) removeLane(l *Lane) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.lanes, l)
}

// CloseUnlisted closes inbound sessions whose process has had no row in the members table for the
// given time, counted from the beginning of the session. The caller calls it after each view of the
// table, and not without one, as only a view shows that a process has no row.
func (t *Transport) CloseUnlisted(after time.Duration) {
	now := time.Now()
	t.mu.Lock()
	var late []*Session
	for _, s := range t.inbound {
		if t.isListed(s) {
			s.listedAt = now
		} else if now.Sub(s.listedAt) >= after {
			late = append(late, s)
		}
	}
	t.mu.Unlock()
	for _, s := range late {
		s.end(faultf(ReasonUnlisted, "its process has had no row in the members table for %v", after))
	}
}
