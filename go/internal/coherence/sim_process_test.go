package coherence

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// process is one process of a simulated cluster: the machine, and what package node does for it.
type process struct {
	id      Incarnation
	number  int // in the order of starts
	place   *place
	m       *Machine
	alive   bool
	stopped time.Duration // until when
	parked  []func()      // what happens to it once it goes on
	offset  time.Duration // of its clock
	before  phase         // after the last input, if a rule is broken
	drift   int64         // of its clock, in millionths
	states  states        // when it was last followed
	astray  bool          // its row is what no step of it has made it

	peers    []peer     // by number
	sessions []*session // up at its side
	ring     []*process // owners of keys, as it sees them
	store    map[versionedKey]int
	flights  map[versionedKey]*flight
	writes   []*transaction
	queries  []*databaseQuery
	looking  bool // at the second server
	away     bool // that has not answered the last look
	found    *look
	known    int           // what the last view said of the second server
	second   time.Duration // since when it serves the second database
}

func (p *process) String() string {
	if p.place.address == "" {
		return fmt.Sprintf("client #%d", p.number)
	}
	return fmt.Sprintf("%s #%d", p.place.address, p.number)
}

// clock counts in whole numbers, so that it is the same on any computer.
func (s *sim) clock(p *process) Time {
	return Time(p.offset + s.now + s.now/1e6*time.Duration(p.drift))
}

// start starts a process at a place that has none.
func (s *sim) start(l *place) {
	if l.process != nil && l.process.alive {
		return
	}
	s.Starts++
	p := &process{
		number: len(s.processes), place: l, alive: true,
		drift:   int64(s.below(2*20000+1)) - 20000,
		offset:  s.between(time.Second, 1000*time.Second),
		store:   make(map[versionedKey]int),
		flights: make(map[versionedKey]*flight),
	}
	for p.id == 0 || s.byID[p.id] != nil || s.insiders[p.id] {
		p.id = Incarnation(1 + s.below(1000))
	}
	if s.chance(s.partial) {
		p.second = s.now + s.between(0, 2*s.length)
	}
	l.process = p
	s.processes = append(s.processes, p)
	s.byID[p.id] = p
	s.calm = max(s.calm, s.now)
	s.record("%v starts as %d on %s", p, p.id, l.host)
	s.makeMachine(p)
	p.states.phase = p.m.join.phase
	s.membersChanged(p)
	s.act(p)
	if s.faults && s.chance(s.deletes) {
		kind := []fault{deleteRow, deleteRows, deleteRows, dropTables}[s.below(4)]
		s.after(s.between(0, 60*time.Millisecond), nil, func() { s.rowsAreDeleted(kind) })
	}
	s.after(0, p, func() { s.turn(p) })
}

func (s *sim) makeMachine(p *process) {
	p.m = New(Config{
		Incarnation: p.id, Address: p.place.address, Lease: simLease,
		AckTimeout: s.acks, OrphanAfter: s.orphans,
		Random: func() uint64 { return s.nonce(p) },
	}, NewTable(make([]uint64, TableHeader+simBuckets)), s.clock(p))
	for d := range s.databases {
		p.m.AddDatabase()
		if d == 0 || p.second <= s.now {
			p.m.Serve(strconv.Itoa(d))
			continue
		}
		if s.off != offServed {
			s.at(p.second, p, func() { p.m.Serve(strconv.Itoa(d)) })
		}
	}
}

// turn lets time pass at a process, and has it read and write.
func (s *sim) turn(p *process) {
	p.m.Tick(s.clock(p))
	s.act(p)
	if s.loads && p.alive {
		for key := range s.keys {
			s.read(p, key)
		}
		if s.chance(s.writes) {
			s.write(p)
		}
	}
	s.checkCommits(p)
	s.after(s.between(5*time.Millisecond, 50*time.Millisecond), p, func() { s.turn(p) })
}

// act carries out what the machine asks for.
func (s *sim) act(p *process) {
	s.follow(p)
	for p.alive {
		if s.off != nothing {
			s.breakRule(p)
		}
		actions := p.m.Actions()
		if len(actions) == 0 {
			return
		}
		s.carryOut(p, actions)
	}
}

func (s *sim) carryOut(p *process, actions []Action) {
	for i, a := range actions {
		if s.point(p, 1); !p.alive {
			return
		}
		if p.stopped > s.now { // the rest comes before anything else when it goes on
			p.parked = append(p.parked, func() { s.carryOut(p, actions[i:]) })
			return
		}
		s.does(p, a)
	}
}

func (s *sim) does(p *process, a Action) {
	switch a.Kind {
	case Send:
		if q := s.byID[a.To]; q != nil {
			s.send(p, q, a.Message)
		}
	case Cleared:
		s.cleared(p, a.Event)
	case Members:
		s.membersChanged(p)
	case Log:
		if strings.HasPrefix(a.Text, "its versions differ") {
			s.Differed++
		}
		s.record("%v: %s", p, a.Text)
	default:
		s.queryReferee(p, a)
	}
}

// membersChanged dials the members that the machine knows, and makes the ring of owners anew.
func (s *sim) membersChanged(p *process) {
	s.dials(p)
	p.ring = p.ring[:0]
	if p.place.address != "" {
		p.ring = append(p.ring, p)
	}
	for _, row := range p.m.Rows() {
		if q := s.byID[row.Incarnation]; q != nil && row.State == In && row.Address != "" {
			p.ring = append(p.ring, q)
		}
	}
}

func (s *sim) receive(p, from *process, message *Message) {
	if s.story != nil && message.Kind != Digest && message.Kind != Repair {
		s.record("%v receives from %v: %s", p, from, message.describe())
	}
	s.Messages++
	if s.off != nothing {
		message = s.breakMessage(p, from, message)
	}
	if s.breakEntries(p, from.id, message) {
		s.act(p)
		return
	}
	if err := p.m.Receive(s.clock(p), from.id, message); err != nil && s.off == nothing {
		s.wrong("%v takes what %v says for a violation: %v", p, from, err)
	}
	s.act(p)
}

func (m *Message) describe() string {
	kind := [...]string{"", "events", "ack", "join request", "join ack", "copy request", "copy", "digest", "repair", "bye", "probe", "alive", "outside"}[m.Kind]
	text := fmt.Sprintf("%s %d/%d", kind, m.Sequence, m.Attempt)
	for _, e := range m.Entries {
		text += fmt.Sprintf(" %d:%d.%d", e.Number, e.Event.ID.Writer, e.Event.ID.Sequence)
		if e.Settled {
			text += " settled"
		}
	}
	return text
}
