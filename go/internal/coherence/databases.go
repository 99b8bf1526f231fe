package coherence

// databases is when the last look that reached each database was asked for; 0: none has yet.
//
// R2 knows one deadline per database: the members table lies on one server, and each database may lie on
// another. A server that is dead lets only the deadlines of its own databases run out.
type databases struct {
	reachedAt []Time
}

// AddDatabase makes room for one more database and returns its number; ok is false if [MaxDatabases] are
// served. Nothing is served of the database before a look has reached it.
func (m *Machine) AddDatabase() (database int, ok bool) {
	d := &m.databases
	if len(d.reachedAt) == MaxDatabases {
		return 0, false
	}
	d.reachedAt = append(d.reachedAt, 0)
	m.outside.lists = append(m.outside.lists, noteList{})
	m.ForgetLooks(len(d.reachedAt) - 1)
	return len(d.reachedAt) - 1, true
}

// ForgetLooks is for a database that was closed and is served again: it may be another one.
func (m *Machine) ForgetLooks(database int) {
	m.databases.reachedAt[database] = 0
	m.publish()
	if !m.cfg.Alone {
		m.view.take()
	}
}

// DatabaseReached reports that a database has answered a look that was asked for at the time asked or
// later, and that it is the database that the members table knows (R13). Readers see it with the next
// [Machine.ViewTaken]. The notes that the look has shown are reported before: [Machine.OutsideWrites].
func (m *Machine) DatabaseReached(database int, asked Time) {
	if reachedAt := m.databases.reachedAt; database >= 0 && database < len(reachedAt) {
		reachedAt[database] = max(reachedAt[database], asked)
	}
}

// Reaches reports whether keys of a database may be served as far as its own server is concerned.
func (m *Machine) Reaches(now Time, database int) bool {
	return m.cfg.Alone || now < m.databases.reachedAt[database].Add(m.cfg.Lease)
}
