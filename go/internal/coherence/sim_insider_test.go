package coherence

import (
	"strconv"
	"time"
)

// An insider of a simulated cluster: it has the cluster's secret, so its session proves an incarnation of
// its own and no other one, and it says whatever it likes. It knows more than a real one could: what it
// says is drawn from what the others have in memory. It gives no copies and no values, which are
// trusted as the database is.

// insider is one that says things. Its words are drawn from what next returns.
type insider struct {
	s    *sim
	id   Incarnation
	next func() uint64
	said uint64 // entries of its log, and its own events
}

// newInsider is one with a row of the members table, in that state, or without.
func (s *sim) newInsider(next func() uint64, state State) *insider {
	x := &insider{s: s, next: next}
	// One that is drawn already, of which an input may have the same again, is followed by the next.
	x.id = Incarnation(1 + next()%1000)
	for s.byID[x.id] != nil || s.insiders[x.id] {
		x.id++
	}
	s.insiders[x.id] = true
	if state != 0 {
		s.rows = append(s.rows, &memberRow{Row: Row{Incarnation: x.id, State: state}, seen: s.now, changed: s.now})
		s.counted++
	}
	s.Insiders++
	s.tell("an insider comes as %d, its row is %v", x.id, state)
	return x
}

func (x *insider) below(n int) int { return int(x.next() % uint64(n)) }

// speaks says something to somebody.
func (x *insider) speaks() {
	s := x.s
	q := s.places[x.below(len(s.places))].process
	if q == nil || !q.alive || q.stopped > s.now {
		return
	}
	message := x.message(q)
	if x.below(4) == 0 {
		bytes := message.Append(nil)
		if x.below(2) == 0 {
			bytes[x.below(len(bytes))] ^= byte(1 + x.below(255))
		}
		var err error
		if message, err = Decode(bytes, simBuckets); err != nil {
			return
		}
	}
	if _, asked := q.m.join.copyRequests[x.id]; asked && message.Kind == Copy {
		return
	}
	if s.story != nil {
		s.tell("the insider says to %v: %s", q, message.describe())
	}
	if q.m.out.connected[x.id] = struct{}{}; x.below(16) == 0 {
		q.m.Connected(s.clock(q), x.id)
	}
	switch {
	case s.off == nothing:
		s.hearWhole(q, x, message)
	case !s.breakInsider(q, message):
		_ = q.m.Receive(s.clock(q), x.id, message)
	}
	s.act(q)
}

// hearWhole has a machine hear an insider, and sees to it that a violation changes nothing.
func (s *sim) hearWhole(q *process, x *insider, message *Message) {
	m := q.m
	open, digest, settled, heard := len(m.events.open), m.table.digest, len(m.events.settled), m.writers.heard[x.id]
	err := m.Receive(s.clock(q), x.id, message)
	if err != nil && (len(m.events.open) != open || m.table.digest != digest || len(m.events.settled) != settled || m.writers.heard[x.id] != heard) {
		s.wrong("%v takes something of a violation: %v", q, err)
	}
}

// message is one of any kind, which q is to hear.
func (x *insider) message(q *process) *Message {
	message := &Message{Kind: MessageKind(1 + x.below(int(Outside)))}
	if x.below(3) > 0 {
		message.Kind = Events
	}
	message.Sequence = x.number(0, q.m.members.lastEntry, q.m.writers.heard[x.id])
	message.Attempt = x.number(0, 1, q.m.join.attempt)
	switch message.Kind {
	case Events, Repair, Outside:
		for range 1 + x.below(3) {
			message.Entries = append(message.Entries, x.entry(q, message.Kind))
		}
		message.Sequence = x.number(0, 0, q.m.writers.heard[x.id])
	case Copy:
		message.State = &Snapshot{Epoch: x.next() &^ 1}
	case Digest:
		message.State = &Snapshot{Settled: q.m.events.settled.pack(), Applied: q.m.outside.packApplied()}
		if x.below(2) == 0 {
			message.State.Settled[x.writer()] = SettledBy{Through: x.number(0, 3, 9)}
		}
	}
	return message
}

// number is one of those that mean something, or the next, or any.
func (x *insider) number(of ...uint64) uint64 {
	switch n := x.below(len(of) + 3); {
	case n < len(of):
		return of[n]
	case n == len(of):
		return of[len(of)-1] + 1
	case n == len(of)+1:
		return x.next()
	}
	return 1<<64 - 1
}

// writer is the insider itself, another process, or nobody.
func (x *insider) writer() Incarnation {
	switch x.below(8) {
	case 0, 1:
		return x.id
	case 2:
		return Incarnation(x.next())
	}
	return x.s.processes[x.below(len(x.s.processes))].id
}

func (x *insider) entry(q *process, kind MessageKind) Entry {
	x.said++
	e := Entry{Number: x.said, Settled: x.below(2) == 0, Event: x.event(q)}
	if x.below(16) == 0 {
		e.Number = x.number(0, x.said)
	}
	if kind == Outside && len(x.s.notes) > 0 && x.below(4) > 0 {
		note := x.s.notes[x.below(len(x.s.notes))]
		e.Settled, e.Event.ID = false, EventID{Sequence: uint64(note.ID)}
	}
	return e
}

// event is one that is open somewhere, the next one of somebody, or another one.
func (x *insider) event(q *process) Event {
	if len(q.m.events.open) > 0 && x.below(3) == 0 {
		open := inOrder(q.m.events.open)
		e := open[x.below(len(open))].event
		if x.below(2) == 0 {
			return e
		}
		return x.another(e.ID)
	}
	id := EventID{Writer: x.writer()}
	if p := x.s.byID[id.Writer]; p != nil {
		id.Sequence = x.number(p.m.events.sequence, p.m.events.sequence+1, p.m.events.sequence+2)
	} else {
		id.Sequence = x.number(x.said/2, x.said)
	}
	return x.another(id)
}

func (x *insider) another(id EventID) Event {
	e := Event{ID: id, Nonce: x.next() &^ 1, Database: []string{"0", "0", "1", "", "9"}[x.below(5)]}
	if e.All = x.below(4) == 0; !e.All {
		for b := range uint32(simBuckets) {
			if x.below(4) == 0 {
				e.Buckets = append(e.Buckets, b)
			}
		}
	}
	return e
}

// goes ends what the insider does.
func (x *insider) goes() {
	x.s.tell("the insider goes")
	for _, p := range x.s.processes {
		if p.alive {
			p.m.Disconnected(x.id)
		}
	}
}

// insiderComes has one say something for a while, as a fault.
func (s *sim) insiderComes(until time.Duration) {
	x := s.newInsider(s.random.Uint64, []State{0, 0, Joining, In, Out}[s.below(5)])
	var again func()
	again = func() {
		if !s.faults || s.now > until {
			x.goes()
			return
		}
		x.speaks()
		s.after(s.between(time.Millisecond, 40*time.Millisecond), nil, again)
	}
	s.after(0, nil, again)
}

// words are numbers that an input holds, a byte each, and when it has ended any numbers that follow from it.
type words struct {
	input []byte
	rest  uint64
}

func (w *words) next() uint64 {
	if len(w.input) > 0 {
		n := w.input[0]
		w.input = w.input[1:]
		w.rest = w.rest*31 + uint64(n)
		return uint64(n)
	}
	w.rest = w.rest*6364136223846793005 + 1442695040888963407
	return w.rest >> 20
}

// bounds tells what is beyond a bound in a machine's memory.
func (m *Machine) beyondBounds() string {
	for who, of := range m.events.usage {
		if of.events > MaxOpenEvents || of.buckets > maxOpenBuckets {
			return "open events of " + strconv.FormatUint(uint64(who), 10)
		}
	}
	events := make(usages)
	for _, o := range m.events.open {
		events.add(&o.event)
	}
	causes := 0
	for _, list := range m.events.doubt.causes {
		causes += list.Len()
	}
	for _, by := range m.events.settled {
		if len(by.above) > maxAbove {
			return "settled events that are kept one by one"
		}
	}
	switch {
	case len(events) != len(m.events.usage) || causes > len(m.events.open):
		return "what is counted of open events"
	case m.rowlessEvents() > maxRowlessTotal:
		return "open events of writers without a row"
	case len(m.writers.rowless) > maxWriters:
		return "writers without a row"
	case len(m.view.requests) > maxJoinRequests:
		return "joiners that wait"
	case len(m.events.backlog.settled) > maxBacklogEvents:
		return "what a joiner was told"
	}
	return ""
}
