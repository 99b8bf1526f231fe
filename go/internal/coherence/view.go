package coherence

import (
	"math"
	"slices"
	"time"
)

// readings is what the members table said last.
type readings struct {
	asked   Time   // when the last reading was asked for: it counts from then
	known   bool   // there is a reading
	listed  bool   // it shows the own row
	state   State  // the own state in it
	reason  string // why, if it is out
	failed  string // why there was no newer one; "": there was
	reading bool   // one is under way; the next waits, so that an older never replaces a newer
	again   bool   // somebody wants one begun later
	next    Time   // when to read without being asked to
	peeked  Time   // when a view was asked for last because of what a peer has said
	// hasteUntil is until when to read often, as one has said bye.
	hasteUntil Time
	words      []ask // who waits for a reading begun after they asked
	served     Time  // the latest deadline that readers were ever shown
	missing    missing
}

// ask is a joiner's question whether it is counted in.
type ask struct {
	who     Incarnation
	attempt uint64
	at      Time
}

// ViewTaken takes a reading of the members table that was asked for at the time asked, or the
// failure to get one. What it shows besides the rows is told before: [Machine.Missing], and of each
// database that has answered [Machine.OutsideWrites] and then [Machine.DatabaseReached].
func (m *Machine) ViewTaken(now, asked Time, rows []Row, err error) {
	m.reading, m.failed = false, ""
	if err != nil {
		m.failed = err.Error()
	}
	if err == nil && (!m.known || asked >= m.asked) && m.phase != left {
		// Who is out in two readings was out in between only if it could not join meanwhile: with
		// the word of this process it would have been seen, without it takes a lease.
		seamless := m.isFresh(now) && m.listed
		m.asked, m.known = asked, true
		m.takeRows(now, rows, seamless)
		m.giveWords(asked)
		m.lookAtOwnRow(now)
		m.publish()
		m.advance(now)
		m.tryAll(now)
		m.watchOutside(now, rows)
	}
	if m.again && err == nil {
		m.read()
	}
}

func (m *Machine) takeRows(now Time, rows []Row, seamless bool) {
	listed := make(map[Incarnation]bool, len(rows))
	m.listed = false
	changed := false
	for _, row := range rows {
		listed[row.Incarnation] = true
		if row.Incarnation == m.cfg.Incarnation {
			m.listed, m.state, m.reason = true, row.State, row.Reason
			continue
		}
		p := m.members[row.Incarnation]
		if p == nil {
			p = m.addMember(Row{Incarnation: row.Incarnation})
		}
		if row.State == Out && (p.row.State != Out || !seamless) {
			m.putOut(now, p)
		}
		if row.State == Out || row.State == Joining {
			p.marked = 0
		}
		changed = changed || !p.row.equal(&row)
		p.row, p.listed, p.shown = row, true, true
		if p.byeAt > 0 && m.asked >= p.byeAt && row.State == Out {
			p.gone, p.bye = true, true
		}
		if p.gone && p.byeAt == 0 && row.State != Out {
			m.markOut(now, p, "it has ended") // the first time may have been lost
		}
	}
	for _, p := range slices.Clone(m.order) {
		if !listed[p.row.Incarnation] {
			changed = m.vanish(now, p) || changed
		}
	}
	m.forgetWriters(now)
	if changed {
		m.act(Action{Kind: Members})
	}
}

// putOut is for a member that is out from this reading on.
func (m *Machine) putOut(now Time, p *member) {
	p.outSince = now
	m.dropLog(p)
	if m.phase == unlisted && m.probing && !p.gone {
		// Somebody waits a lease for it now, and would wait for this one anew.
		m.retryAt = max(m.retryAt, min(now.Add(minPause*m.cfg.Lease), m.latest))
	}
}

// vanish is for a member that has no row in this reading; it tells whether that changes anything.
// One that was not out may still serve, and commit, by an older reading: it counts as out for a
// lease before it is forgotten.
func (m *Machine) vanish(now Time, p *member) (changed bool) {
	p.shown = false
	if p.byeAt > 0 && m.asked >= p.byeAt {
		p.gone, p.bye = true, true
	}
	if p.listed && p.row.State != Out {
		m.putOut(now, p)
		p.row.State, p.row.Reason = Out, "its row is gone"
		changed = true
	}
	if p.listed && !p.gone && now < p.outSince.Add(m.outlastLease()) {
		return changed
	}
	m.dropLog(p)
	m.dropMember(p)
	return true
}

// lookAtOwnRow begins anew when the table shows this process out, or not at all.
func (m *Machine) lookAtOwnRow(now Time) {
	if m.phase == unlisted && m.probing && !m.listed {
		m.retryAt = now
	}
	if m.isLate() {
		m.note("its row in the members table was written late: joins again")
		m.startOver(now)
		return
	}
	if p := m.refusal(); p != nil && m.listed && m.state != Out {
		m.standAside(p) // the first time may have been lost
	}
	if m.phase < awaitingAcks || m.asked < m.since || m.listed && m.state != Out {
		return
	}
	reason := "its row in the members table is gone"
	if m.listed {
		reason = "it was put out (" + m.reason + ")"
	}
	if m.phase == joined {
		m.note(reason + ": joins again")
	}
	m.joinAgain(now, reason)
}

// isLate tells whether the own row shows a step that this process has not taken, or has taken
// back: the database has executed late what counted as failed.
func (m *Machine) isLate() bool {
	switch m.phase {
	case awaitingAcks, copying:
		return m.listed && m.asked >= m.since && (m.state == In || m.state == Boot)
	case joined:
		return m.listed && m.asked >= m.stood && (m.state == Joining || m.state == Boot)
	}
	return false
}

// publish shows readers until when they may serve (R2).
func (m *Machine) publish() {
	deadline := Time(0)
	switch {
	case m.phase != joined:
	case m.cfg.Alone:
		deadline = math.MaxInt64
	case m.listed && m.state != Out:
		deadline = m.asked.Add(m.cfg.Lease)
	}
	m.served = max(m.served, deadline)
	m.table.setDeadline(deadline)
	m.publishDatabases(deadline)
}

func (m *Machine) isFresh(now Time) bool {
	return m.known && now < m.asked.Add(m.cfg.Lease)
}

// Serves tells whether the process is in standing.
func (m *Machine) Serves(now Time) bool {
	if m.cfg.Alone {
		return m.phase == joined
	}
	return m.phase == joined && m.listed && m.state != Out && m.isFresh(now)
}

// outlastLease is a lease on anyone's clock.
func (m *Machine) outlastLease() time.Duration {
	return time.Duration(float64(m.cfg.Lease) * outlast)
}

func (m *Machine) read() {
	m.again = m.reading
	if !m.reading {
		m.reading = true
		m.act(Action{Kind: TakeView})
	}
}

// poll reads four times a lease; more often while it joins, which others wait for, but not
// in the pause before it tries again.
func (m *Machine) poll(now Time) {
	if now < m.next {
		return
	}
	every := m.cfg.Lease / 4
	if m.phase != joined && m.phase != unlisted || now < m.hasteUntil {
		every = m.cfg.Lease / 60
	}
	m.next, m.peeked = now.Add(every), now
	m.read()
}

// wasAsked gives the word after a reading begun from now on, which a joiner whose row was
// there before it asked is in.
func (m *Machine) wasAsked(now Time, who Incarnation, attempt uint64) {
	i := slices.IndexFunc(m.words, func(a ask) bool { return a.who == who })
	switch {
	case i >= 0 && m.words[i].attempt == attempt:
		return
	case i >= 0:
		m.words = slices.Delete(m.words, i, i+1)
	case len(m.words) == maxAsks:
		return // it waits for a lease then
	}
	m.words = append(m.words, ask{who, attempt, now})
	m.peek(now)
}

func (m *Machine) giveWords(asked Time) {
	later := m.words[:0]
	for _, a := range m.words {
		if a.at > asked {
			later = append(later, a)
			continue
		}
		if p := m.members[a.who]; p != nil && p.row.State != Out {
			m.send(a.who, &Message{Kind: JoinAck, Attempt: a.attempt})
		}
	}
	m.words = later
}
