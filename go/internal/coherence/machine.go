package coherence

// Machine is the coherence protocol of one process. Its caller's duties are in the package's
// documentation. Each of its parts knows only the parts above it in this struct; what needs more than
// one of them is a method of Machine itself.
type Machine struct {
	cfg    Config
	table  *Table
	ticked Time // when time was passed last

	out         outbox      // what the caller has to do, and which processes can be reached
	members     members     // the other processes that have a row
	writers     writers     // what has been heard of each writer
	view        view        // the members table, as it was seen last
	databases   databases   // when each database was reached
	join        join        // how far this process has come on its way into the cluster
	events      events      // what is open, in doubt and settled
	orphans     orphans     // which databases are asked about events that nobody settles
	antientropy antientropy // when to compare versions with another member
	outside     outside     // notes of writes that nobody has announced
}

// New returns the machine of a process that starts now. It writes to table.
func New(cfg Config, table *Table, now Time) *Machine {
	m := &Machine{cfg: cfg, table: table}
	m.out.connected = make(map[Incarnation]struct{})
	m.members = members{cfg: &m.cfg, byID: make(map[Incarnation]*member)}
	m.writers = writers{heard: make(map[Incarnation]uint64), rowless: make(map[Incarnation]Time)}
	m.view = view{cfg: &m.cfg, out: &m.out, members: &m.members}
	m.join = join{cfg: &m.cfg, out: &m.out, members: &m.members, view: &m.view}
	m.events = newEvents(newDoubt(table))
	m.orphans = orphans{cfg: &m.cfg, out: &m.out, events: &m.events}
	m.outside = outside{cfg: &m.cfg, out: &m.out, view: &m.view, events: &m.events,
		applied: make(map[OutsideID]Time), relayed: make(map[OutsideID]*relayedNote)}
	if cfg.Alone {
		m.table.reset(m.cfg.nonce(), nil)
		m.join.phase = joined
		m.publish()
	}
	m.join.advance(now)
	return m
}

// Actions returns what the caller has to do, in order, and forgets it.
func (m *Machine) Actions() []Action {
	actions := m.out.actions
	m.out.actions = nil
	return actions
}

// Tick lets time pass. It is called at least every 50 ms.
func (m *Machine) Tick(now Time) {
	if m.join.phase == left {
		return
	}
	if !m.cfg.Alone {
		m.events.endLeaving(now)
		m.view.poll(now, m.join.isUnderWay())
		m.join.advance(now)
		m.markOutSlow(now)
	}
	if m.join.phase == joined {
		m.orphans.watch(now)
		m.sendDigests(now)
	}
}

// Connected reports that there is a connection to a process. Entries that the process has not
// acknowledged are sent again.
func (m *Machine) Connected(now Time, peer Incarnation) {
	m.out.connected[peer] = struct{}{}
	if p := m.members.byID[peer]; p != nil {
		p.ended, p.refuses = p.bye, false
		m.resend(p)
		m.join.advance(now)
	}
}

// Disconnected reports that the last connection to a process is gone.
func (m *Machine) Disconnected(peer Incarnation) { delete(m.out.connected, peer) }

// Refused reports that a member does not admit this process. As long as such a member is alive this
// process serves nothing and writes its row as seldom as it can: with a row it would only take the cache
// away from the members that reach each other.
func (m *Machine) Refused(now Time, peer Incarnation) {
	if p := m.members.byID[peer]; p != nil && !p.refuses {
		p.refuses = true
		m.out.log(p.describe() + " does not admit this process: reads go to the database")
		m.view.standAside(p)
		m.view.take()
	}
}

// Ended reports that a process is proved to have ended. It needs no announcement and no wait (R3), and
// no joiner needs its acknowledgement (R5).
func (m *Machine) Ended(now Time, peer Incarnation) {
	delete(m.out.connected, peer)
	p := m.members.byID[peer]
	if p == nil || p.ended {
		return
	}
	p.ended = true
	if p.row.State != Out && p.byeAt == 0 {
		m.view.markOut(now, p, "it has ended") // a member that has said bye removes its row by itself
	}
	m.out.act(Action{Kind: Members})
	m.clearReady(now)
	m.join.advance(now)
}

// Leave says bye: the process serves nothing from now on, and asks for the removal of its row. Its events
// that are not settled become orphans at the other members.
func (m *Machine) Leave(now Time) {
	before := m.join.phase
	m.join.phase = left
	m.publish()
	if before == left || m.cfg.Alone {
		return
	}
	for _, p := range m.members.order {
		m.out.send(p.row.Incarnation, &Message{Kind: Bye})
	}
	m.out.act(Action{Kind: Remove})
}

// Rows returns the members without this process, ordered by incarnation. A member that is proved to have
// ended counts as out.
func (m *Machine) Rows() []Row {
	rows := make([]Row, 0, len(m.members.order))
	for _, p := range m.members.order {
		row := p.row
		row.State = p.state()
		rows = append(rows, row)
	}
	return rows
}

// Listed reports whether the last view shows a row of a process, in any state.
func (m *Machine) Listed(id Incarnation) bool {
	if id == m.cfg.Incarnation {
		return m.view.listed
	}
	p := m.members.byID[id]
	return p != nil && p.shown
}

// Serves reports whether the process serves from its cache.
func (m *Machine) Serves(now Time) bool {
	return m.join.phase == joined && (m.cfg.Alone || m.view.showsMember() && m.view.isFresh(now))
}
