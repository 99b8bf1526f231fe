package coherence

// R2 knows one deadline per database: the members table lies on one server, and each database may
// lie on another. A server that is dead lets only the deadlines of its own databases run out.

// databases is when the last look that reached each database was asked for; 0: none has yet.
type databases struct {
	reached []Time
}

// AddDatabase makes room for one more database and returns its number; it is false where
// [MaxDatabases] are served. Nothing is served of it before a look has reached it.
func (m *Machine) AddDatabase() (database int, ok bool) {
	if len(m.reached) == MaxDatabases {
		return 0, false
	}
	m.reached = append(m.reached, 0)
	m.lists = append(m.lists, noteList{})
	m.ForgetLooks(len(m.reached) - 1)
	return len(m.reached) - 1, true
}

// ForgetLooks is for a database that was closed and is served again: it may be another one.
func (m *Machine) ForgetLooks(database int) {
	m.reached[database] = 0
	m.publish()
	if !m.cfg.Alone {
		m.read()
	}
}

// DatabaseReached tells that a database has answered a look asked for at the time asked or later, and is
// the one that the members table knows (R13). It shows with the next [Machine.ViewTaken]. The notes
// that the look has shown are told before, see [Machine.OutsideWrites].
func (m *Machine) DatabaseReached(database int, asked Time) {
	if database >= 0 && database < len(m.reached) {
		m.reached[database] = max(m.reached[database], asked)
	}
}

// publishDatabases shows readers until when they may serve keys of each database, where the view
// of the members table lets them until deadline.
func (m *Machine) publishDatabases(deadline Time) {
	for database, asked := range m.reached {
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

// Reaches tells whether keys of a database may be served as far as its own server is concerned.
func (m *Machine) Reaches(now Time, database int) bool {
	return m.cfg.Alone || now < m.reached[database].Add(m.cfg.Lease)
}
