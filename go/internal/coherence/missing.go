package coherence

import "fmt"

// The cluster's row counts the members' rows that ought to be there: every statement that
// writes a new row, or removes one, changes the count in the same transaction. A view with
// fewer rows tells that somebody has deleted some. Whose they were this process may never
// have seen, if it has just begun: they may serve, and commit, by their last views, which
// nothing that is committed here would wait for (R3), nor their word (R5). A lease after the
// first such view all of these have run out. Only then the count is lowered, so that who
// starts meanwhile waits as well, and who starts later need not.

// missing is what the last view lacked.
type missing struct {
	rows int // that are counted and not there; negative: that are there and not counted
	// counting names the count: a random number that is drawn anew when the count is lowered, or
	// the cluster's row made again. Under one of them rows only become more.
	counting uint64
	since    Time // when a view first showed this
}

// Missing tells, before [Machine.Reading] takes a view, how many rows it lacks, and of which
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

// mayLack tells whether there may be a process that serves, or commits, without a row in the
// table, and that this process has never seen.
func (m *Machine) mayLack(now Time) bool {
	return m.missing.rows > 0 && now < m.missing.since.Add(m.outlastLease())
}
