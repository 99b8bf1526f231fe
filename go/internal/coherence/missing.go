package coherence

import "fmt"

// The cluster's row counts the members' rows that ought to be there: every statement that
// writes a new row, or removes one, changes the count in the same transaction. A view with
// fewer rows shows that somebody has deleted some. A process that has just begun may never have
// seen their owners: they may serve, and commit, by their last views, and neither a commit here
// (R3) nor the own joining (R5) would wait for them. A lease after the first such view all of
// these views have run out. Only then is the count lowered: a process that starts meanwhile
// waits as well, and one that starts later need not.

// missing is what the last view lacked.
type missing struct {
	rows int // that are counted and not there; negative: that are there and not counted
	// counting names the count: a random number that is drawn anew when the count is lowered, or
	// the cluster's row made again. Under one of them rows only become more.
	counting uint64
	since    Time // when a view first showed this
}

// Missing tells, before [Machine.ViewTaken] takes a view, how many rows it lacks, and of which
// count. The cluster's row when it is made counts one row more than there are, as it tells
// nothing of the time before.
func (m *Machine) Missing(now, asked Time, rows int, counting uint64) {
	if m.known && asked < m.asked || m.phase == left {
		return
	}
	// After a pause the rows may be others, though they are as many: the database may have failed
	// over to an earlier state.
	others := rows != m.missing.rows || counting != m.missing.counting
	if others && rows > 0 {
		m.note(fmt.Sprintf("the members table lacks rows (%d), or was made anew: commits wait for a lease", rows))
	}
	if others || !m.isFresh(now) {
		m.missing = missing{rows, counting, now}
	}
	// Rows that nobody has counted would hide later ones that are deleted.
	if rows != 0 && !m.mayLack(now) {
		m.act(Action{Kind: WriteOff, Missing: rows, Counting: counting})
	}
}

// mayLack tells whether a process that this one has never seen may serve, or commit, without a
// row in the table.
func (m *Machine) mayLack(now Time) bool {
	return m.missing.rows > 0 && now < m.missing.since.Add(m.outlastLease())
}
