package coherence

import (
	"strconv"
	"time"
)

// An insider of a simulated cluster: it has the cluster's secret, so its session proves its own incarnation
// and no other, and it says whatever it likes. It knows more than a real one could: its messages are drawn
// from what the others have in memory. It gives no copies and no values, which are trusted as the database is.

// insider draws its messages from what next returns.
type insider struct {
	s    *sim
	id   Incarnation
	next func() uint64
	said uint64 // entries of its log, and its own events
}

// newInsider returns an insider that has a row of the members table in this state; 0: it has no row.
func (s *sim) newInsider(next func() uint64, state State) *insider {
	x := &insider{s: s, next: next}
	// An input may draw the same incarnation again: then it is the next one that is free.
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
	s.record("an insider starts as %d, its row is %v", x.id, state)
	return x
}

func (x *insider) below(n int) int { return int(x.next() % uint64(n)) }

// speaks sends a message to a process.
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
		s.record("the insider says to %v: %s", q, message.describe())
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

// hearWhole has a machine receive a message of an insider, and checks that a violation changes nothing.
func (s *sim) hearWhole(q *process, x *insider, message *Message) {
	m := q.m
	open, digest, settled, heard := len(m.events.open), m.table.digest, len(m.events.settled), m.writers.heard[x.id]
	err := m.Receive(s.clock(q), x.id, message)
	if err != nil && (len(m.events.open) != open || m.table.digest != digest || len(m.events.settled) != settled || m.writers.heard[x.id] != heard) {
		s.wrong("%v takes something of a violation: %v", q, err)
	}
}

// message draws a message of any kind for q.
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

// number draws one of those that mean something, or the next one, or any.
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

// writer draws the insider itself, another process, or a writer that does not exist.
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

// event draws an event that is open at q, the next one of some process, or another one.
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

// goes ends the insider.
func (x *insider) goes() {
	x.s.record("the insider goes")
	for _, p := range x.s.processes {
		if p.alive {
			p.m.Disconnected(x.id)
		}
	}
}

// insiderComes has an insider speak for a while, as a fault.
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

// numbers are the bytes of an input, and when it has ended numbers that follow from it.
type numbers struct {
	input []byte
	rest  uint64
}

func (w *numbers) next() uint64 {
	if len(w.input) > 0 {
		n := w.input[0]
		w.input = w.input[1:]
		w.rest = w.rest*31 + uint64(n)
		return uint64(n)
	}
	w.rest = w.rest*6364136223846793005 + 1442695040888963407
	return w.rest >> 20
}

// beyondBounds returns what is beyond a bound in a machine's memory; "" is nothing.
func (m *Machine) beyondBounds() string {
	for writer, of := range m.events.usage {
		if of.events > MaxOpenEvents || of.buckets > maxOpenBuckets {
			return "open events of " + strconv.FormatUint(uint64(writer), 10)
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
		return "the backlog of a joiner"
	}
	return ""
}
