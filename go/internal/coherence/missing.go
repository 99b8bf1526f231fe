package coherence

import "fmt"

// The cluster's row counts the members' rows that there should be: every statement that writes a new row,
// or removes one, changes the count in the same transaction. A view with fewer rows shows that somebody
// has deleted some. A process that has just started may never have seen their owners, which may serve,
// and commit, by their last views; neither a commit here (R3) nor this process's own joining (R5) would
// wait for them. A lease after the first such view all of those views have run out. Only then is the
// count lowered: a process that starts meanwhile waits as well, and one that starts later need not.

// missing is what the last view lacked.
type missing struct {
	rows int // rows that are counted and not there; negative: rows that are there and not counted
	// counting identifies the count: a random number that is drawn anew when the count is lowered, or
	// the cluster's row is made again. Under one such number rows only become more.
	counting uint64
	since    Time // when a view first showed this
}

// Missing reports, before [Machine.ViewTaken] takes a view, how many rows the view lacks, and of which
// count. The cluster's row when it is made counts one row more than there are, as it knows nothing of the
// time before.
func (m *Machine) Missing(now, asked Time, rows int, counting uint64) {
	v := &m.view
	if v.taken && asked < v.asked || m.join.phase == left {
		return
	}
	others := rows != v.missing.rows || counting != v.missing.counting
	if others && rows > 0 {
		m.out.log(fmt.Sprintf("rows are missing in the members table (%d), or it was made anew: commits wait for a lease", rows))
	}
	// After a pause other rows may be missing, though they are as many: the database may have failed over
	// to an earlier state.
	if others || !v.isFresh(now) {
		v.missing = missing{rows, counting, now}
	}
	// Rows that nobody has counted would hide later ones that are deleted.
	if rows != 0 && !v.mayLack(now) {
		m.out.act(Action{Kind: WriteOff, Missing: rows, Counting: counting})
	}
}

// mayLack reports whether a process that this one has never seen may serve, or commit, without a row in
// the table.
func (v *view) mayLack(now Time) bool {
	return v.missing.rows > 0 && now < v.missing.since.Add(v.cfg.outlastLease())
}
