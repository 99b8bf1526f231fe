package coherence

import (
	"slices"
	"time"
)

// The network of a simulated cluster. Over a session frames arrive in order and none is missing until the
// session ends, which its two sides learn at different times. Two processes may have a session from each
// side; each prefers its own, as in package node, so that frames of one session may arrive after later ones
// of another. Messages of one place can be blocked on their way to another, also in one direction only: then
// they arrive late, or never, when the session ends by the read timeout.

type session struct {
	sides [2]*process      // the one that has dialled, and the one that was dialled
	up    [2]bool          // at each side
	last  [2]time.Duration // when the last frame arrives at each side
}

func (x *session) side(p *process) int {
	if p == x.sides[0] {
		return 0
	}
	return 1
}

// peer is what a process keeps of its connection to another one.
type peer struct {
	process  *process
	sessions []*session
	current  *session // over which messages are sent
	listed   bool     // in the members table, so it is dialled
	dialling int      // number of the attempt that is under way; 0: none
	tries    int
	pause    time.Duration
}

const shortestPause, longestPause = 20 * time.Millisecond, 320 * time.Millisecond

// peer returns what p keeps of its connection to q.
func (p *process) peer(q *process) *peer {
	for len(p.peers) <= q.number {
		p.peers = append(p.peers, peer{})
	}
	x := &p.peers[q.number]
	x.process = q
	return x
}

// arrival returns when what one place sends to another now arrives.
func (s *sim) arrival(from, to int) time.Duration {
	return max(s.now, s.blocked[from][to]) + s.delay()
}

func (s *sim) isCut(a, b int) bool { return max(s.blocked[a][b], s.blocked[b][a]) > s.now }

func (s *sim) send(p, q *process, message *Message) {
	x := p.peer(q).current
	if x == nil {
		return
	}
	if s.codec {
		again, err := Decode(message.Append(nil), simBuckets)
		if err != nil {
			s.wrong("%v sends what cannot be decoded: %v", p, message)
			return
		}
		message = again
	}
	there := x.side(q)
	at := max(s.arrival(p.place.number, q.place.number), x.last[there]+1)
	if message.Kind == Copy && s.copies > 0 {
		at += s.between(0, s.copies)
		if s.eager {
			s.blocked[p.place.number][s.second.place], s.blocked[s.second.place][p.place.number] = 0, 0
		}
	}
	x.last[there] = at
	deliver := func() {
		if x.up[there] {
			s.receive(q, p, message)
		}
	}
	s.at(at, q, deliver)
	if s.chance(10) { // a message that arrives again must not matter
		s.at(at, q, deliver)
	}
}

// dials begins to dial the processes that are listed, and ends the sessions with those that are not any more.
func (s *sim) dials(p *process) {
	for i := range p.peers {
		p.peers[i].listed = false
	}
	for _, row := range p.m.Rows() {
		if q := s.byID[row.Incarnation]; q != nil && q.place.address != "" && q != p {
			to := p.peer(q)
			to.listed = true
			if to.dialling == 0 && !s.hasDialled(p, to) {
				to.pause = shortestPause
				s.dial(p, q)
			}
		}
	}
	for i := range p.peers {
		if to := &p.peers[i]; !to.listed {
			for _, x := range slices.Clone(to.sessions) {
				if x.sides[0] == p {
					s.close(x, 0, true)
				}
			}
		}
	}
}

func (s *sim) hasDialled(p *process, to *peer) bool {
	return slices.ContainsFunc(to.sessions, func(x *session) bool { return x.sides[0] == p })
}

// dial tries to reach a process, and tries again until there is a session.
func (s *sim) dial(p, q *process) {
	to := p.peer(q)
	if to.dialling = 0; !to.listed || s.hasDialled(p, to) {
		return
	}
	to.tries++
	try := to.tries
	to.dialling = try
	again := simDialling
	there, back := q.place.number, p.place.number
	switch {
	case s.isCut(back, there):
		if s.off == offGone {
			p.m.Ended(s.clock(p), q.id)
			s.act(p)
		}
	case !q.alive:
		again = to.pause
		if s.provesEnd(p, q) {
			s.after(s.delay(), p, func() {
				p.m.Ended(s.clock(p), q.id)
				s.act(p)
			})
		}
	case p.place.refused != q.place.refused:
		again = to.pause
		if p.place.refused {
			s.after(s.delay(), p, func() {
				p.m.Refused(s.clock(p), q.id)
				s.act(p)
			})
		}
	default:
		s.at(s.arrival(back, there), q, func() { s.accept(p, q, try) })
	}
	to.pause = min(2*to.pause, longestPause)
	s.after(again, p, func() {
		if p.peer(q).dialling == try {
			s.dial(p, q)
		}
	})
}

// provesEnd reports whether p can see that q has ended: on one host it can.
func (s *sim) provesEnd(p, q *process) bool { return p.place.host == q.place.host }

func (s *sim) accept(p, q *process, try int) {
	x := &session{sides: [2]*process{p, q}}
	p.sessions, q.sessions = append(p.sessions, x), append(q.sessions, x)
	s.up(x, 1)
	if !p.alive { // it has died since
		s.endAt(x, 1, s.arrival(p.place.number, q.place.number))
		return
	}
	s.at(s.arrival(q.place.number, p.place.number), p, func() {
		to := p.peer(q)
		if to.dialling != try || !to.listed || !x.up[1] {
			s.endAt(x, 1, s.arrival(p.place.number, q.place.number))
			return
		}
		to.dialling, to.pause = 0, shortestPause
		s.up(x, 0)
	})
}

func (s *sim) up(x *session, side int) {
	p, q := x.sides[side], x.sides[1-side]
	x.up[side] = true
	to := p.peer(q)
	to.sessions = append(to.sessions, x)
	s.use(p, to)
}

// use picks the session to send over, and notifies the machine when it is another one.
func (s *sim) use(p *process, to *peer) {
	var best *session
	for _, x := range to.sessions {
		if best == nil || x.sides[0] == p && best.sides[0] != p {
			best = x
		}
	}
	if best == to.current {
		return
	}
	to.current = best
	if best == nil {
		p.m.Disconnected(to.process.id)
	} else {
		p.m.Connected(s.clock(p), to.process.id)
	}
	s.act(p)
}

// close ends a session at one side. The other side learns of it; if it ends in order, after all that was sent
// before.
func (s *sim) close(x *session, side int, inOrder bool) {
	if !x.up[side] {
		return
	}
	p, q := x.sides[side], x.sides[1-side]
	s.closed(x, side)
	at := s.arrival(p.place.number, q.place.number)
	if inOrder {
		at = max(at, x.last[1-side]+1)
	}
	s.endAt(x, 1-side, min(at, s.now+simReadTimeout))
}

// endAt ends a session at one side at some time.
func (s *sim) endAt(x *session, side int, at time.Duration) {
	s.at(at, x.sides[side], func() { s.closed(x, side) })
}

func (s *sim) closed(x *session, side int) {
	if !x.up[side] {
		return
	}
	p, q := x.sides[side], x.sides[1-side]
	x.up[side] = false
	is := func(y *session) bool { return y == x }
	p.sessions = slices.DeleteFunc(p.sessions, is)
	to := p.peer(q)
	to.sessions = slices.DeleteFunc(to.sessions, is)
	s.use(p, to)
	if to = p.peer(q); p.alive && side == 0 && to.listed && to.dialling == 0 {
		s.dial(p, q)
	}
}

// block lets nothing that one place sends reach another for a while. A session ends first at a side that hears
// nothing for too long.
func (s *sim) block(from, to int, until time.Duration) {
	s.blocked[from][to] = max(s.blocked[from][to], until)
	s.calm = max(s.calm, until)
	if from >= dbPlace || to >= dbPlace || until < s.now+simReadTimeout {
		return
	}
	s.after(simReadTimeout+s.delay(), nil, func() {
		p, q := s.places[from].process, s.places[to].process
		if s.blocked[from][to] > s.now && p != nil && q != nil {
			s.timeOutAt(p, q)
		}
	})
}

// timeOutAt ends the sessions with p at q.
func (s *sim) timeOutAt(p, q *process) {
	for _, x := range slices.Clone(q.sessions) {
		if side := x.side(q); x.sides[1-side] == p {
			s.at(s.now, q, func() { s.close(x, side, false) })
		}
	}
}
