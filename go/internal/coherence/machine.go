package coherence

import (
	"cmp"
	"slices"
)

// phase is how far the process itself has come on its way into the cluster.
type phase uint8

const (
	unlisted     phase = iota // has no row yet, or was put out and must post again
	posting                   // asked the database to write the row
	awaitingAcks              // row is there; waits for everyone's word, or one lease (R5)
	copying                   // looks for one in standing to copy from, or to be elected (R7)
	booting                   // elected; waits until the transactions open then have ended
	entering                  // has its copy; asked the database to turn the row to in
	joined                    // row is in: serves as long as its reading is fresh (R2)
	left                      // said bye
)

// Machine is the coherence protocol of one process. Every method takes the time now; what is
// to be done about it is fetched with [Machine.Actions] after each call.
type Machine struct {
	cfg   Config
	table *Table
	out   []Action

	events
	readings
	databases
	joining
	orphans
	levelling
	outside

	members map[Incarnation]*member
	order   []*member                // members, by incarnation: the same schedule, the same story
	links   map[Incarnation]struct{} // who can be reached now
	number  uint64                   // of the last entry of any log
	heard   map[Incarnation]uint64   // number of the last entry taken of another one's log
	rowless map[Incarnation]Time     // writers without a row, of whom something is kept, and since when
	ticked  Time
}

// member is what this process keeps of another one, for as long as it has a row.
type member struct {
	row      Row    // the incarnation never changes
	gone     bool   // proved to have ended: it acknowledges nothing and commits nothing
	bye      bool   // it has said so, and a view has shown it since
	byeAt    Time   // when it said so first; 0: it has not
	shown    bool   // the last view shows it
	outSince Time   // when a reading first showed it out, or not at all any more
	listed   bool   // a reading has shown it
	marked   Time   // when this process last asked to mark it out
	log      log    // what it is told, in order
	answered uint64 // the last probe that it answered
	// outOfReach: it was noted that this process cannot reach it.
	outOfReach bool
	refuses    bool // it does not let this process in

	copied   Time    // when it was given a copy last
	compared [2]Time // when its digest was looked at last: as an answer, and to be answered
	differs  difference
}

// isIn tells whether the last view shows a member as in.
func (p *member) isIn() bool { return p.shown && p.row.State == In }

// New returns the machine of a process that begins now, writing to table.
func New(cfg Config, table *Table, now Time) *Machine {
	m := &Machine{
		cfg:     cfg,
		table:   table,
		members: make(map[Incarnation]*member),
		links:   make(map[Incarnation]struct{}),
		heard:   make(map[Incarnation]uint64),
		rowless: make(map[Incarnation]Time),
	}
	m.applied, m.toldNotes = make(map[OutsideID]Time), make(map[OutsideID]*toldNote)
	m.events = newEvents(newDoubts())
	if cfg.Alone {
		m.table.reset(m.even(), nil)
		m.phase = joined
		m.publish()
		return m
	}
	m.advance(now)
	return m
}

// Actions returns what is to be done, in order, and forgets it.
func (m *Machine) Actions() []Action {
	out := m.out
	m.out = nil
	return out
}

// Tick lets time pass; call it at least every 50 ms.
func (m *Machine) Tick(now Time) {
	if m.phase == left {
		return
	}
	if m.cfg.Alone {
		m.watchOrphans(now)
		return
	}
	m.endLeaving(now)
	m.poll(now)
	m.advance(now)
	m.hurry(now)
	m.watchOrphans(now)
	m.compare(now)
}

// Connected tells that a connection to a process can be used; what it has not acknowledged is
// sent again.
func (m *Machine) Connected(now Time, who Incarnation) {
	m.links[who] = struct{}{}
	if p := m.members[who]; p != nil {
		p.gone, p.refuses = p.bye, false
		m.resend(p)
		m.advance(now)
	}
}

// Refused tells that a member does not let this process in. As long as one does so that is
// alive this process serves nothing, and puts itself forward as seldom as it can: it would
// only take the cache away from those who belong together.
func (m *Machine) Refused(now Time, who Incarnation) {
	if p := m.members[who]; p != nil && !p.refuses {
		p.refuses = true
		m.note(p.describe() + " does not let this process in: it reads from the database")
		m.standAside(p)
		m.read()
	}
}

func (m *Machine) standAside(refusing *member) {
	m.act(Action{Kind: MarkOut, To: m.cfg.Incarnation, Text: refusing.describe() + " does not let it in"})
}

// refusal returns a member that is alive and does not let this process in.
func (m *Machine) refusal() *member {
	for _, p := range m.order {
		if p.refuses && !p.gone && !p.row.Overdue {
			return p
		}
	}
	return nil
}

// Disconnected tells that the last connection to a process is gone.
func (m *Machine) Disconnected(who Incarnation) { delete(m.links, who) }

// Ended tells that a process is proved to have ended. It needs no announcement and no wait (R3),
// and its word is not needed (R5).
func (m *Machine) Ended(now Time, who Incarnation) {
	delete(m.links, who)
	p := m.members[who]
	if p == nil || p.gone {
		return
	}
	p.gone = true
	if p.row.State != Out && p.byeAt == 0 {
		m.markOut(now, p, "it has ended") // one that has said bye removes its row by itself
	}
	m.act(Action{Kind: Members})
	m.tryAll(now)
	m.advance(now)
}

// saysBye is for a member that serves and writes nothing any more, and removes its row. It is
// believed when a view that began later shows that row out or gone (R17), which is soon.
func (m *Machine) saysBye(now Time, p *member) {
	if p.byeAt == 0 {
		p.byeAt, m.hasteUntil = now, now.Add(m.cfg.Lease)
	}
	m.peek(now)
}

// Listed tells whether the last view shows a row of a process, in any state.
func (m *Machine) Listed(who Incarnation) bool {
	if who == m.cfg.Incarnation {
		return m.listed
	}
	p := m.members[who]
	return p != nil && p.shown
}

// Leave says bye: serves nothing from now on, and asks for the removal of the own row. Events
// of this process that are not settled stay with the others as orphans.
func (m *Machine) Leave(now Time) {
	if m.phase == left || m.cfg.Alone {
		m.phase = left
		m.publish()
		return
	}
	m.phase = left
	m.publish()
	for _, p := range m.order {
		m.send(p.row.Incarnation, &Message{Kind: Bye})
	}
	m.act(Action{Kind: Remove})
}

// Rows returns the members but for this process, ordered by incarnation; who is proved to
// have ended counts as out.
func (m *Machine) Rows() []Row {
	rows := make([]Row, 0, len(m.order))
	for _, p := range m.order {
		row := p.row
		if p.gone {
			row.State = Out
		}
		rows = append(rows, row)
	}
	return rows
}

func (m *Machine) addMember(row Row) *member {
	p := &member{row: row}
	m.members[row.Incarnation] = p
	i, _ := slices.BinarySearchFunc(m.order, p, byIncarnation)
	m.order = slices.Insert(m.order, i, p)
	return p
}

func (m *Machine) dropMember(p *member) {
	delete(m.members, p.row.Incarnation)
	i, _ := slices.BinarySearchFunc(m.order, p, byIncarnation)
	m.order = slices.Delete(m.order, i, i+1)
}

func byIncarnation(a, b *member) int { return cmp.Compare(a.row.Incarnation, b.row.Incarnation) }

func (m *Machine) act(a Action) { m.out = append(m.out, a) }

func (m *Machine) note(text string) { m.act(Action{Kind: Log, Text: text}) }

// send is for messages that may be lost: who needs the answer asks again.
func (m *Machine) send(to Incarnation, message *Message) {
	if _, linked := m.links[to]; linked {
		m.act(Action{Kind: Send, To: to, Message: message})
	}
}

// markOut asks to mark a member out, and again when no reading shows it after a while.
func (m *Machine) markOut(now Time, p *member, because string) {
	if p.marked == 0 || now >= p.marked.Add(m.cfg.Lease/4) {
		if p.marked == 0 {
			m.note("marks out " + p.describe() + ": " + because)
		}
		p.marked = now
		m.act(Action{Kind: MarkOut, To: p.row.Incarnation, Text: because})
	}
	m.read()
}

// markOutOfReach is for one that a joiner cannot copy from. Whom it has a connection with, and
// still gets nothing from, it marks out; whom it cannot reach may be alive, and is marked out
// only if the database has not heard of it either.
func (m *Machine) markOutOfReach(now Time, p *member) {
	if _, linked := m.links[p.row.Incarnation]; linked || p.gone {
		m.markOut(now, p, "nothing can be copied from it")
		return
	}
	if !p.outOfReach {
		p.outOfReach = true
		m.note("cannot reach " + p.describe() + " and so cannot join while it lives: reads go to the database")
	}
	m.act(Action{Kind: MarkOut, To: p.row.Incarnation, Text: "nobody hears of it", IfOverdue: true})
	m.read()
}

// even returns random bits that never show doubt and are never nothing.
func (m *Machine) even() uint64 {
	for {
		if n := m.cfg.Random() &^ 1; n != 0 {
			return n
		}
	}
}
