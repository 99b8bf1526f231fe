package coherence

// Views of the members table, and looks at a second database server, as members.py and databases.py take
// them.

// look is what a process has found out about the second server.
type look struct {
	asked    Time // when the view was asked for with which the look began
	known    int  // what the members table had said of the server before
	identity int
	notes    []*OutsideWrite
}

// lookApart looks at the second server, unless a look is under way.
func (s *sim) lookApart(p *process, asked Time) {
	if p.looking || s.now < p.second {
		return
	}
	p.looking = true
	l := &look{asked: asked, known: p.known}
	s.queryServer(p, &s.second, func() { l.identity, l.notes = s.second.identity, s.notesOf(1) }, func(err error) {
		p.looking, p.away = false, err != nil
		if err == nil {
			p.found = l
		}
	})
}

func (s *sim) takeView(p *process) {
	asked := s.clock(p)
	var rows []Row
	var found *look
	var lacks, known int
	var counting uint64
	var notes [2][]*OutsideWrite
	view := func() {
		rows = s.viewRows(p)
		lacks, counting = s.counted-len(rows), s.counting
		for d := range s.databases {
			if s.serverOf(d) == &s.server {
				notes[d] = s.notesOf(d)
			}
		}
	}
	stages := []func(){func() {
		view()
		known = s.expectedApart
		if s.apart && s.faults && s.chance(s.outs) {
			s.after(s.delay(), nil, func() {
				s.markOut(p, Action{To: p.id, Text: "while it looks"})
				s.seeAtOnce(p)
			})
		}
	}}
	if s.off == offSnapshot {
		stages = append(stages, func() { known = s.expectedApart })
	}
	if s.apart {
		s.lookApart(p, asked)
		stages = append(stages, func() {
			found, p.found = p.found, nil
			if s.judge(p, found, known) {
				view()
			}
			if s.off == offKept {
				return
			}
			if p.known = s.expectedApart; found != nil && found.identity != p.known {
				found = nil
			}
		})
	}
	s.query(p, func(err error) {
		if s.story != nil {
			s.record("%v takes a view that was asked for at %v: %s", p, asked, describeRows(rows, err))
		}
		if err == nil {
			s.rowsMissing(p, asked, lacks, counting)
			s.databasesReached(p, asked, found, notes)
		}
		s.viewTaken(p, asked, rows, err)
	}, stages...)
}

// seeAtOnce has the others take a view.
func (s *sim) seeAtOnce(p *process) {
	for _, l := range s.places {
		if q := l.process; s.eager && q != nil && q != p {
			s.after(0, q, func() {
				q.m.view.take()
				s.act(q)
			})
		}
	}
}

// databasesReached reports to a machine which databases have answered, and what was written to them from
// outside.
func (s *sim) databasesReached(p *process, asked Time, found *look, notes [2][]*OutsideWrite) {
	for d := range s.databases {
		switch {
		case d == 1 && s.now < p.second:
		case s.serverOf(d) == &s.server:
			s.outsideWrites(p, d, asked, notes[d])
			p.m.DatabaseReached(d, asked)
		case found != nil:
			s.outsideWrites(p, d, min(asked, found.asked), found.notes)
			p.m.DatabaseReached(d, min(asked, found.asked))
		}
	}
}

// judge has the members table say what a look has found, and reports whether there was anything to change.
// known is what the table has said just before.
func (s *sim) judge(p *process, found *look, known int) bool {
	switch {
	case found == nil || s.off == offIdentity:
		return false
	case s.off == offKept: // each process knows what it has seen itself
		known, p.known = p.known, found.identity
		if known != 0 && known != found.identity {
			s.allOut()
			return true
		}
		return false
	case found.identity == known || known != 0 && found.known != known:
		return false
	case known == s.expectedApart: // or another process was faster
		s.apartBefore, s.apartChanged, s.expectedApart = s.expectedApart, s.now, found.identity
		s.record("members table: the second server is number %d", found.identity)
		if known != 0 {
			s.allOut()
		}
	}
	return true
}
