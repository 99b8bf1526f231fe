package coherence

import (
	"cmp"
	"maps"
	"slices"
)

// The database of a simulated cluster, as far as the machines ask it.

func (s *sim) act(p *process) {
	for _, a := range p.m.Actions() {
		s.carryOut(p, a)
	}
	for _, row := range p.m.Rows() {
		if q := s.processes[row.Incarnation]; q != nil {
			s.connect(p, q)
		}
	}
}

func (s *sim) carryOut(p *process, a Action) {
	switch a.Kind {
	case Send:
		if q := s.processes[a.To]; q != nil {
			s.send(p, q, a.Message)
		}
	case Passed:
		s.passed(p, a.Event)
	case Note:
		s.tell("%d: %s", p.inc, a.Text)
	case Read:
		asked := s.clock(p)
		s.database(p, func() func() {
			var rows []Row
			if s.broken == readsAnEmptyTable && s.r.IntN(4) == 0 {
				rows = []Row{{Incarnation: p.inc, Address: p.address, State: In}}
				return func() { p.m.Reading(s.clock(p), asked, rows, nil) }
			}
			for inc := Incarnation(1); inc <= s.last; inc++ {
				if row := s.board[inc]; row != nil {
					rows = append(rows, *row)
				}
			}
			return func() { p.m.Reading(s.clock(p), asked, rows, nil) }
		})
	case Post:
		s.database(p, func() func() {
			s.board[p.inc] = &Row{Incarnation: p.inc, Address: p.address, State: Joining}
			return func() { p.m.Posted(s.clock(p), nil) }
		})
	case MarkOut:
		s.database(p, func() func() {
			row, q := s.board[a.To], s.processes[a.To]
			heard := q != nil && q.alive && q.paused < s.now
			if row != nil && !(a.Silent && heard) {
				row.State = Out
			}
			return func() {}
		})
	case Remove:
		s.after(s.delay(), nil, func() { delete(s.board, p.inc) })
	case Elect:
		s.database(p, func() func() {
			won := s.elect(p)
			open := s.openNames()
			return func() { p.m.Elected(s.clock(p), won, open, nil) }
		})
	case Enter:
		s.database(p, func() func() {
			row := s.board[p.inc]
			ok := row != nil && (row.State == Joining || row.State == Boot)
			if ok {
				row.State = In
			}
			return func() { p.m.Entered(s.clock(p), ok, nil) }
		})
	case OpenTransactions:
		s.database(p, func() func() {
			open := s.openNames()
			return func() { p.m.OpenTransactions(s.clock(p), a.Database, open, nil) }
		})
	}
}

func (s *sim) database(p *process, execute func() func()) {
	s.after(s.delay(), nil, func() {
		answer := execute()
		s.after(s.delay(), p, func() {
			answer()
			s.act(p)
		})
	})
}

func (s *sim) elect(p *process) bool {
	own := s.board[p.inc]
	if own == nil || own.State != Joining {
		return false
	}
	for inc, row := range s.board {
		if inc != p.inc && (row.State == In || row.State == Boot) {
			return false
		}
	}
	own.State = Boot
	return true
}

func (s *sim) openTransactions() []*transaction {
	return slices.SortedFunc(maps.Keys(s.open), func(a, b *transaction) int { return cmp.Compare(a.name, b.name) })
}

func (s *sim) openNames() []string {
	var names []string
	if s.broken == forgetsOpenTransactions {
		return nil
	}
	for _, tx := range s.openTransactions() {
		names = append(names, tx.name)
	}
	return names
}
