package coherence

import (
	"math"
	"slices"
)

// ViewTaken takes a view of the members table that was asked for at the time asked, or the failure to get
// one. The rest of the view is reported before: [Machine.Missing], and for each database that has answered
// [Machine.OutsideWrites] and then [Machine.DatabaseReached].
func (m *Machine) ViewTaken(now, asked Time, rows []Row, err error) {
	v := &m.view
	v.underWay, v.failed = false, ""
	if err != nil {
		v.failed = err.Error()
	}
	if err == nil && (!v.taken || asked >= v.asked) && m.join.phase != left {
		// A member that is out in two views was out in between only if it could not join meanwhile: with
		// this process's acknowledgement a view would have shown it, and without it joining takes a lease.
		seamless := v.isFresh(now) && v.listed
		v.asked, v.taken = asked, true
		m.takeRows(now, rows, seamless)
		v.acknowledgeJoiners(asked)
		m.lookAtOwnRow(now)
		m.publish()
		m.join.advance(now)
		m.clearReady(now)
		m.watchOutside(now, rows)
	}
	if v.wanted && err == nil {
		v.take()
	}
}

func (m *Machine) takeRows(now Time, rows []Row, seamless bool) {
	v := &m.view
	shown := make(map[Incarnation]bool, len(rows))
	v.listed = false
	changed := false
	for _, row := range rows {
		shown[row.Incarnation] = true
		if row.Incarnation == m.cfg.Incarnation {
			v.listed, v.state, v.reason = true, row.State, row.Reason
			continue
		}
		changed = m.takeRow(now, row, seamless) || changed
	}
	for _, p := range slices.Clone(m.members.order) {
		if !shown[p.row.Incarnation] {
			changed = m.vanish(now, p) || changed
		}
	}
	m.forgetWriters(now)
	if changed {
		m.out.act(Action{Kind: Members})
	}
}

// takeRow takes the row of another process, and reports whether it has changed.
func (m *Machine) takeRow(now Time, row Row, seamless bool) (changed bool) {
	p := m.members.byID[row.Incarnation]
	if p == nil {
		p = m.members.add(Row{Incarnation: row.Incarnation})
	}
	if row.State == Out && (p.row.State != Out || !seamless) {
		m.putOut(now, p)
	}
	if row.State == Out || row.State == Joining {
		p.markedAt = 0
	}
	changed = !p.row.equal(&row)
	p.row, p.shown = row, true
	if row.State == Out {
		m.view.confirmBye(p)
	}
	if p.ended && p.byeAt == 0 && row.State != Out {
		m.view.markOut(now, p, "it has ended") // the first time may have been lost
	}
	return changed
}

// putOut is for a member that is out from this view on.
func (m *Machine) putOut(now Time, p *member) {
	p.outSince = now
	m.dropLog(p)
	if m.join.phase == unlisted && m.join.probing && !p.ended {
		// Some writer waits a lease for it now, and would wait for this process anew.
		m.join.retryAt = max(m.join.retryAt, min(now.Add(minPause*m.cfg.Lease), m.join.latest))
	}
}

// vanish is for a member that has no row in this view. It reports whether that changes anything. A member
// that was not out may still serve, and commit, by an older view: it counts as out for a lease before it
// is forgotten.
func (m *Machine) vanish(now Time, p *member) (changed bool) {
	p.shown = false
	m.view.confirmBye(p)
	if p.row.State != Out {
		m.putOut(now, p)
		p.row.State, p.row.Reason = Out, rowGone
		changed = true
	}
	if !p.ended && now < p.outSince.Add(m.cfg.outlastLease()) {
		return changed
	}
	m.dropLog(p)
	m.members.drop(p)
	return true
}

const rowGone = "its row is gone"

// lookAtOwnRow starts over when the table shows this process as out, or not at all.
func (m *Machine) lookAtOwnRow(now Time) {
	j, v := &m.join, &m.view
	if j.phase == unlisted && j.probing && !v.listed {
		j.retryAt = now
	}
	if j.isLate() {
		m.out.log("its row in the members table was written late: it joins again")
		j.startOver(now)
		return
	}
	if p := m.members.refusing(); p != nil && v.showsMember() {
		v.standAside(p) // the first time may have been lost
	}
	if j.phase < awaitingAcks || v.asked < j.postedAt || v.showsMember() {
		return
	}
	reason := "its row in the members table is gone"
	if v.listed {
		reason = "it was put out (" + v.reason + ")"
	}
	if j.phase == joined {
		m.out.log(reason + ": it joins again")
	}
	j.rejoin(now, reason)
}

// publish shows readers until when they may serve keys of each database (R2): none for longer than the view
// of the members table allows.
func (m *Machine) publish() {
	deadline := Time(0)
	switch {
	case m.join.phase != joined:
	case m.cfg.Alone:
		deadline = math.MaxInt64
	case m.view.showsMember():
		deadline = m.view.asked.Add(m.cfg.Lease)
	}
	m.view.lastDeadline = max(m.view.lastDeadline, deadline)
	for database, asked := range m.databases.reachedAt {
		own := Time(0)
		switch {
		case m.cfg.Alone:
			own = deadline
		case asked > 0:
			own = min(deadline, asked.Add(m.cfg.Lease))
		}
		m.table.setDatabaseDeadline(database, own)
	}
}
