package coherence

import "time"

// The code that switches off the rules about members that speak for others, where an insider speaks.

// breakInsider has a machine receive a message of an insider without a rule, and reports whether the message is
// dealt with.
func (s *sim) breakInsider(q *process, message *Message) bool {
	m, now := q.m, s.clock(q)
	victim := s.processes[s.below(len(s.processes))]
	switch {
	case s.off == offBye && message.Kind == Bye && victim != q:
		m.Ended(now, victim.id)
		return true
	case s.off == offInvented && len(s.notes) > 0 && m.join.hasCopy():
		note := s.notes[s.below(len(s.notes))]
		m.outside.applyNote(&OutsideWrite{ID: note.ID, Nonce: 2}, now)
		return true
	case message.Kind != Events && message.Kind != Repair:
		return false
	}
	taken := false
	for _, e := range message.Entries {
		id := e.Event.ID
		if id.Sequence == 0 || id.Sequence >= maxSequence || id.Writer == q.id {
			continue
		}
		o := m.events.open[id]
		switch {
		case s.off == offWriter && m.join.hasCopy() && o == nil:
			m.events.addUnknown(now, e.Event)
		case s.off == offAnnounced && m.join.hasCopy() && o != nil && o.own == nil:
			m.events.doubt.end(o)
			o.event.All, o.event.Buckets = e.Event.All, e.Event.Buckets
			m.events.doubt.begin(o)
		case s.off == offHint && e.Settled && o != nil && m.join.hasCopy():
			m.events.settle(o, m.join.hasCopy())
		case s.off == offAdvance && e.Settled && o == nil:
			m.events.settleByWriter(e.Event, m.join.hasCopy())
		default:
			continue
		}
		taken = true
	}
	return taken
}

// insiders has insiders that speak all the time.
func insiders(o *options) {
	o.only(map[fault]int{insiderSpeaks: 8, kill: 1})
	o.joinsFast()
	o.lasting, o.databases, o.apart, o.partial, o.codec = 2*time.Second, 1, false, 0, false
}

// insidersAndNotes has insiders while much is written from outside.
func insidersAndNotes(o *options) {
	insiders(o)
	o.outsideEvery, o.writes, o.mostNotes = 100*time.Millisecond, 10, 1000
}

// servedLater has processes that begin to serve a database while its transactions are open, and copy then.
func servedLater(o *options) {
	o.only(map[fault]int{kill: 8, insiderSpeaks: 4})
	o.joinsFast()
	o.databases, o.apart, o.partial, o.waits, o.orphans = 2, false, 800, 400, 800*time.Millisecond
	o.lasting, o.size, o.keys, o.buckets, o.length = 2*time.Second, 4, 6, 6, 5*time.Second
}
