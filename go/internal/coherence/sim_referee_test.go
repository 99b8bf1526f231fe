package coherence

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The database of a simulated cluster as the referee: the members table, and which
// transactions are open. What is asked, and how, is that of members.py.

type memberRow struct {
	Row
	changed, seen time.Duration
}

// change is what a row, and the count of rows, was before; without a state it was not there, and
// without an incarnation only the count has changed.
type change struct {
	at       time.Duration
	before   memberRow
	counted  int
	counting uint64
}

func (s *sim) changing(before memberRow) {
	s.changes = append(s.changes, change{s.now, before, s.counted, s.counting})
}

func (s *sim) askReferee(p *process, a Action) {
	switch a.Kind {
	case TakeView:
		s.askReading(p)
	case Post:
		s.ask(p, func(err error) { s.posted(p, err) }, func() { s.post(p) })
	case MarkOut:
		s.ask(p, nil, func() { s.markOut(p, a) })
	case WriteOff:
		s.ask(p, nil, func() { s.writeOff(p, a) })
	case AcknowledgeOutside:
		s.ask(p, nil, func() { s.acknowledgeOutside(p, a) })
	case ForgetOutside:
		s.forgetOutside(p, a)
	case Remove:
		s.ask(p, nil, func() { s.removeRows(1, func(r *memberRow) bool { return r.Incarnation == p.id }) })
	case Elect:
		var won bool
		var open []string
		s.ask(p, func(err error) {
			if s.apart && won && err == nil {
				s.askApart(p, func(names []string, err error) { s.elected(p, won, append(open, names...), err) })
				return
			}
			s.elected(p, won, open, err)
		}, func() { won = s.elect(p) }, func() { open = s.openNames("", &s.server) })
	case Enter:
		var ok bool
		s.ask(p, func(err error) { p.m.Entered(s.clock(p), ok, err) }, func() { ok = s.enter(p) })
	case OpenTransactions:
		s.askOpen(p, a.Database)
	}
}

// askOpen asks for the open transactions of a database, or of all.
func (s *sim) askOpen(p *process, database string) {
	if s.apart && database == "1" {
		s.askApart(p, func(open []string, err error) { s.openAnswer(p, database, open, err) })
		return
	}
	var open []string
	s.ask(p, func(err error) {
		if s.apart && database == "" && err == nil {
			s.askApart(p, func(names []string, err error) { s.openAnswer(p, "", append(open, names...), err) })
			return
		}
		s.openAnswer(p, database, open, err)
	}, func() { open = s.openNames(database, &s.server) })
}

// askApart asks the second server for open transactions.
func (s *sim) askApart(p *process, answer func([]string, error)) {
	var open []string
	s.askServer(p, &s.second, func() { open = s.openNames("", &s.second) }, func(err error) { answer(open, err) })
}

func describeRows(rows []Row, err error) string {
	if err != nil {
		return err.Error()
	}
	var text []string
	for _, r := range rows {
		text = append(text, fmt.Sprint(r.Incarnation, " ", r.State))
	}
	return strings.Join(text, ", ")
}

// readRows is a reading, and what is done at one now and then: a sign of life, the removal of
// rows that have been out for long, and a look at who the database is (R13).
func (s *sim) readRows(p *process) []Row {
	if own := s.row(p.id); own != nil && s.now > own.seen+simSeen {
		own.seen = s.now
	}
	if s.expected != s.identity && s.off != offIdentity {
		s.expected = s.identity
		s.allOut()
	}
	s.removeRows(1, func(r *memberRow) bool {
		return r.State == Out && s.now > r.changed+simCleaning && (s.isUnheard(r) || s.off == offCleaning)
	})
	rows := make([]Row, 0, len(s.rows))
	for _, r := range s.rows {
		row := r.Row
		row.Overdue = s.isUnheard(r)
		rows = append(rows, row)
	}
	return rows
}

// allOut is what is done when a database may have lost commits.
func (s *sim) allOut() {
	for _, r := range s.rows {
		if r.State != Out {
			s.setState(r, Out, "a database may have lost commits")
		}
	}
}

func (s *sim) isUnheard(r *memberRow) bool { return s.now > r.seen+simUnheard }

func (s *sim) row(id Incarnation) *memberRow {
	for _, r := range s.rows {
		if r.Incarnation == id {
			return r
		}
	}
	return nil
}

func (s *sim) setState(r *memberRow, state State, reason string) {
	s.changing(*r)
	r.State, r.Reason, r.changed = state, reason, s.now
	if s.story != nil {
		s.tell("members table: %d is %v %s", r.Incarnation, state, reason)
	}
}

// removeRows removes rows; each makes the count less by one, unless it is removed behind its back.
func (s *sim) removeRows(less int, which func(*memberRow) bool) {
	s.rows = slices.DeleteFunc(s.rows, func(r *memberRow) bool {
		if !which(r) {
			return false
		}
		s.changing(*r)
		s.counted -= less
		s.tell("members table: %d is no more", r.Incarnation)
		return true
	})
}

func (s *sim) post(p *process) {
	r := s.row(p.id)
	isNew := r == nil
	if isNew {
		r = &memberRow{Row: Row{Incarnation: p.id, Address: p.place.address, Host: p.place.host}}
		s.rows = append(s.rows, r)
	}
	s.setState(r, Joining, "")
	if s.off != offReset {
		r.Applied = nil
	}
	r.seen = s.now
	if isNew {
		s.counted++
	}
}

func (s *sim) markOut(p *process, a Action) {
	if r := s.row(a.To); r != nil && r.State != Out && (!a.IfOverdue || s.isUnheard(r)) {
		s.setState(r, Out, fmt.Sprint(p, ": ", a.Text))
	}
}

func (s *sim) elect(p *process) bool {
	own := s.row(p.id)
	if own == nil || own.State != Joining {
		return false
	}
	for _, r := range s.rows {
		if r != own && (r.State == In || r.State == Boot) {
			return false
		}
	}
	s.setState(own, Boot, "")
	return true
}

func (s *sim) enter(p *process) bool {
	own := s.row(p.id)
	if own == nil || own.State != Joining && own.State != Boot {
		return false
	}
	s.setState(own, In, "")
	return true
}

// openNames names the open transactions of a database, or of all, at a server.
func (s *sim) openNames(database string, at *server) []string {
	var names []string
	for _, tx := range s.open {
		if tx.server == at && (database == "" || tx.database == database) {
			names = append(names, tx.name)
		}
	}
	return names
}

// rowsAreDeleted is what nobody may do and somebody does.
func (s *sim) rowsAreDeleted(kind fault) {
	if len(s.rows) == 0 || s.down > s.now {
		return
	}
	s.Deletions++
	s.calm = max(s.calm, s.now)
	one := s.rows[s.below(len(s.rows))]
	s.tell("somebody deletes rows of the members table: %s", faultNames[kind])
	s.removeRows(0, func(r *memberRow) bool { return kind != deleteRow || r == one })
	if kind == dropTables {
		s.makeTables(1)
		if s.off == offMade {
			s.counted = len(s.rows)
		}
	}
}

// makeTables makes the cluster's row, which counts more rows than there are; those of before have
// nothing to do with it.
func (s *sim) makeTables(more int) {
	s.changing(memberRow{})
	s.counted, s.counting = len(s.rows)+more, s.random.Uint64()
}

func (s *sim) writeOff(p *process, a Action) {
	if s.counting != a.Counting && s.off != offCounting {
		return
	}
	s.tell("%v writes off %d of %d rows of the members table", p, a.Missing, s.counted)
	s.changing(memberRow{})
	s.counted, s.counting = s.counted-a.Missing, s.random.Uint64()
	if s.off == offDifference {
		s.counted = len(s.rows)
	}
}
