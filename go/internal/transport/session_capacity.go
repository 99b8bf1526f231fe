package transport

import (
	"slices"
	"time"
)

// Who has the secret, or is a process of the same user, can open sessions without end. So those of
// processes that have a row in the members table (Options.Listed) and those of others are counted
// apart: the places of a member are never taken by somebody else. Among the others, the one who
// has the most gives way to the next. Of one process, which has proved who it is, the newest
// sessions count: it knows best why it dials again, as a connection that was cut may seem open here
// for seconds.

// admitSession keeps a session, and closes others where it needs their places.
func (t *Transport) admitSession(s *Session) error {
	t.mu.Lock()
	ousted, err := t.place(s)
	t.mu.Unlock()
	t.endOusted(ousted)
	return err
}

func (t *Transport) endOusted(ousted []*Session) {
	for _, s := range ousted {
		s.end(faultf(ReasonBusy, "another one took its place: %d are allowed of one process, %d of those without a row"+
			" in the members table, half of these from one source", t.limits.PerProcess, t.limits.Unlisted))
	}
}

// place finds a place for a session and counts its two goroutines. The caller holds mu.
func (t *Transport) place(s *Session) (ousted []*Session, err error) {
	if !s.outgoing {
		ousted = t.crowd(s)
	}
	for _, other := range ousted {
		t.drop(other)
	}
	if s.outgoing || t.isListed(s) {
		ousted = append(ousted, t.yield()...)
	}
	if err := t.room(); err != nil {
		return ousted, err
	}
	t.sessions[s] = struct{}{}
	if !s.outgoing {
		s.listedAt = time.Now()
		t.inbound = append(t.inbound, s)
	}
	t.group.Add(2)
	return ousted, nil
}

// yield returns the unlisted session that goes where all places are taken and a member, or this
// process itself, needs one. The caller holds mu.
func (t *Transport) yield() []*Session {
	unlisted := t.unlisted(nil)
	if len(t.sessions)+len(t.lanes) < t.limits.Sessions || len(unlisted) == 0 {
		return nil
	}
	one := unlisted[oldestOfBusiest(unlisted, (*Session).from)]
	t.drop(one)
	return []*Session{one}
}

// keepLane keeps a lane, and closes a session of a stranger where it needs its place.
func (t *Transport) keepLane(l *Lane) error {
	t.mu.Lock()
	ousted := t.yield()
	err := t.room()
	if err == nil {
		t.lanes[l] = struct{}{}
		t.counters.dialled.Add(1)
	}
	t.mu.Unlock()
	t.endOusted(ousted)
	return err
}

// crowd returns whose place an inbound session takes. The caller holds mu.
func (t *Transport) crowd(s *Session) (ousted []*Session) {
	own := filter(t.inbound, func(other *Session) bool { return other.peer.Incarnation == s.peer.Incarnation })
	if len(own) >= t.limits.PerProcess {
		ousted = append(ousted, own[0])
	}
	if t.isListed(s) {
		return ousted
	}
	unlisted := t.unlisted(ousted)
	same := filter(unlisted, func(other *Session) bool { return other.source == s.source })
	switch {
	case len(same) >= max(t.limits.Unlisted/2, 1): // one source leaves places to others
		ousted = append(ousted, same[0])
	case len(unlisted) >= t.limits.Unlisted:
		ousted = append(ousted, unlisted[oldestOfBusiest(unlisted, (*Session).from)])
	}
	return ousted
}

// unlisted returns the inbound sessions of processes without a row, oldest first, but for some.
func (t *Transport) unlisted(but []*Session) []*Session {
	return filter(t.inbound, func(s *Session) bool { return !t.isListed(s) && !slices.Contains(but, s) })
}

func (t *Transport) isListed(s *Session) bool { return t.listed == nil || t.listed(s.peer.Incarnation) }

func (s *Session) from() string { return s.source }

func filter(list []*Session, keep func(*Session) bool) (kept []*Session) {
	for _, s := range list {
		if keep(s) {
			kept = append(kept, s)
		}
	}
	return kept
}

// drop forgets a session. The caller holds mu.
func (t *Transport) drop(s *Session) {
	delete(t.sessions, s)
	if i := slices.Index(t.inbound, s); i >= 0 {
		t.inbound = slices.Delete(t.inbound, i, i+1)
	}
}

// CloseUnlisted closes inbound sessions whose process has had no row in the members table for so
// long, counted from the begin of the session. It is to be called after each view of the table: as
// long as there is none, nobody can be seen to have no row.
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

// room tells whether there may be one more session or lane. The caller holds mu.
func (t *Transport) room() error {
	if t.closed {
		return ErrClosed
	}
	if len(t.sessions)+len(t.lanes) >= t.limits.Sessions {
		return faultf(ReasonBusy, "%w: there are %d sessions already", ErrOverload, t.limits.Sessions)
	}
	return nil
}

func (t *Transport) forget(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(s)
}

func (t *Transport) forgetLane(l *Lane) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.lanes, l)
}
