package coherence

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The database of a simulated cluster as the referee: the members table, and which transactions are open. The
// statements are those of members.py.

type memberRow struct {
	Row
	changed, seen time.Duration
}

// change is what a row, and the count of rows, was before; without a state the row was not there, and without
// an incarnation only the count has changed.
type change struct {
	at       time.Duration
	before   memberRow
	counted  int
	counting uint64
}

func (s *sim) changing(before memberRow) {
	s.changes = append(s.changes, change{s.now, before, s.counted, s.counting})
}

func (s *sim) queryReferee(p *process, a Action) {
	switch a.Kind {
	case TakeView:
		s.takeView(p)
	case Post:
		s.query(p, func(err error) { s.posted(p, err) }, func() { s.post(p) })
	case MarkOut:
		s.query(p, nil, func() { s.markOut(p, a) })
	case WriteOff:
		s.query(p, nil, func() { s.writeOff(p, a) })
	case AcknowledgeOutside:
		s.query(p, nil, func() { s.acknowledgeOutside(p, a) })
	case ForgetOutside:
		s.forgetOutside(p, a)
	case Remove:
		s.query(p, nil, func() { s.removeRows(1, func(r *memberRow) bool { return r.Incarnation == p.id }) })
	case Elect:
		var won bool
		var open []string
		s.query(p, func(err error) {
			if s.apart && won && err == nil {
				s.queryApart(p, func(names []string, err error) { s.elected(p, won, append(open, names...), err) })
				return
			}
			s.elected(p, won, open, err)
		}, func() { won = s.elect(p) }, func() { open = s.openNames("", &s.server) })
	case Enter:
		var ok bool
		s.query(p, func(err error) { p.m.Entered(s.clock(p), ok, err) }, func() { ok = s.enter(p) })
	case OpenTransactions:
		s.queryOpen(p, a.Database)
	}
}

// queryOpen asks for the open transactions of a database, or of all.
func (s *sim) queryOpen(p *process, database string) {
	if s.apart && database == "1" {
		s.queryApart(p, func(open []string, err error) { s.openAnswer(p, database, open, err) })
		return
	}
	var open []string
	s.query(p, func(err error) {
		if s.apart && database == "" && err == nil {
			s.queryApart(p, func(names []string, err error) { s.openAnswer(p, "", append(open, names...), err) })
			return
		}
		s.openAnswer(p, database, open, err)
	}, func() { open = s.openNames(database, &s.server) })
}

// queryApart asks the second server for open transactions.
func (s *sim) queryApart(p *process, answer func([]string, error)) {
	var open []string
	s.queryServer(p, &s.second, func() { open = s.openNames("", &s.second) }, func(err error) { answer(open, err) })
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

// viewRows is a view, with what is done at a view now and then: a heartbeat, the removal of rows that have been
// out for long, and a look at the identity of the database (R13).
func (s *sim) viewRows(p *process) []Row {
	if own := s.row(p.id); own != nil && s.now > own.seen+simHeartbeat {
		own.seen = s.now
	}
	if s.expected != s.identity && s.off != offIdentity {
		s.expected = s.identity
		s.allOut()
	}
	s.removeRows(1, func(r *memberRow) bool {
		return r.State == Out && s.now > r.changed+simCleaning && (s.isOverdue(r) || s.off == offCleaning)
	})
	rows := make([]Row, 0, len(s.rows))
	for _, r := range s.rows {
		row := r.Row
		row.Overdue = s.isOverdue(r)
		rows = append(rows, row)
	}
	return rows
}

// allOut puts all members out, as a database may have lost commits.
func (s *sim) allOut() {
	for _, r := range s.rows {
		if r.State != Out {
			s.setState(r, Out, "a database may have lost commits")
		}
	}
}

func (s *sim) isOverdue(r *memberRow) bool { return s.now > r.seen+simOverdue }

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
	s.followAll()
	if s.story != nil {
		s.record("members table: %d is %v %s", r.Incarnation, state, reason)
	}
}

// removeRows removes rows. Each lowers the count by less: by 0 if it is removed behind the count's back.
func (s *sim) removeRows(less int, which func(*memberRow) bool) {
	s.rows = slices.DeleteFunc(s.rows, func(r *memberRow) bool {
		if !which(r) {
			return false
		}
		s.changing(*r)
		s.counted -= less
		s.record("members table: %d is no more", r.Incarnation)
		return true
	})
	s.followAll()
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
	if r := s.row(a.To); r != nil && r.State != Out && (!a.IfOverdue || s.isOverdue(r)) {
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

// openNames returns the names of the open transactions of a database, or of all, at a server.
func (s *sim) openNames(database string, at *server) []string {
	var names []string
	for _, tx := range s.open {
		if tx.server == at && (database == "" || tx.database == database) {
			names = append(names, tx.name)
		}
	}
	return names
}

// rowsAreDeleted has somebody delete rows, which nobody may do.
func (s *sim) rowsAreDeleted(kind fault) {
	if len(s.rows) == 0 || s.down > s.now {
		return
	}
	s.Deletions++
	s.calm = max(s.calm, s.now)
	one := s.rows[s.below(len(s.rows))]
	s.record("somebody deletes rows of the members table: %s", faultNames[kind])
	s.removeRows(0, func(r *memberRow) bool { return kind != deleteRow || r == one })
	if kind == dropTables {
		s.makeTables(1)
		if s.off == offMade {
			s.counted = len(s.rows)
		}
	}
}

// makeTables makes the cluster's row, which counts so many rows more than there are.
func (s *sim) makeTables(more int) {
	s.changing(memberRow{})
	s.counted, s.counting = len(s.rows)+more, s.random.Uint64()
}

func (s *sim) writeOff(p *process, a Action) {
	if s.counting != a.Counting && s.off != offCounting {
		return
	}
	s.record("%v writes off %d of %d rows of the members table", p, a.Missing, s.counted)
	s.changing(memberRow{})
	s.counted, s.counting = s.counted-a.Missing, s.random.Uint64()
	if s.off == offDifference {
		s.counted = len(s.rows)
	}
}
