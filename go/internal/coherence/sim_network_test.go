package coherence

// The network of a simulated cluster: reliable and in order until a connection breaks.

func pair(a, b Incarnation) [2]Incarnation { return [2]Incarnation{min(a, b), max(a, b)} }

func (s *sim) link(a, b Incarnation) *link {
	l := s.links[pair(a, b)]
	if l == nil {
		l = &link{}
		s.links[pair(a, b)] = l
	}
	return l
}

// connect dials, and again while it is cut off.
func (s *sim) connect(p, q *process) {
	l := s.link(p.inc, q.inc)
	if l.up || !p.alive || !q.alive {
		return
	}
	if l.cut > s.now {
		s.after(l.cut-s.now+s.delay(), nil, func() { s.connect(p, q) })
		return
	}
	l.up = true
	l.generation++
	for _, end := range [][2]*process{{p, q}, {q, p}} {
		g := l.generation
		s.after(s.delay(), end[0], func() {
			if l.up && l.generation == g {
				end[0].m.Linked(s.clock(end[0]), end[1].inc)
				s.act(end[0])
			}
		})
	}
}

func (s *sim) breakLink(a, b Incarnation) {
	l := s.links[pair(a, b)]
	if l == nil || !l.up {
		return
	}
	l.up = false
	g := l.generation
	for _, end := range [][2]Incarnation{{a, b}, {b, a}} {
		p, q := s.processes[end[0]], s.processes[end[1]]
		s.after(s.delay(), p, func() {
			if l.generation == g {
				p.m.Unlinked(q.inc)
				s.connect(p, q)
			}
		})
	}
}

func (s *sim) send(p, q *process, message *Message) {
	l := s.link(p.inc, q.inc)
	if !l.up {
		return
	}
	direction := 0
	if p.inc > q.inc {
		direction = 1
	}
	at := max(s.now+s.delay(), l.last[direction]+1)
	l.last[direction] = at
	g := l.generation
	twice := s.r.IntN(50) == 0
	deliver := func() {
		if l.up && l.generation == g {
			if s.broken == copiesNoOpenEvents && message.Kind == Copy {
				bare := *message.State
				bare.Open = nil
				message = &Message{Kind: Copy, Attempt: message.Attempt, State: &bare}
			}
			q.m.Receive(s.clock(q), p.inc, message)
			s.act(q)
		}
	}
	s.after(at-s.now, q, deliver)
	if twice { // a repeated frame must not matter
		s.after(at-s.now, q, deliver)
	}
}
