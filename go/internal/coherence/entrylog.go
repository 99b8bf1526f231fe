package coherence

import (
	"math"
	"slices"
)

// entriesInMessage keeps a message within a frame.
const entriesInMessage = 64

// entryLog is what is sent to one member in order, and again after a broken connection, until the member
// has acknowledged it. An acknowledged announcement is what R3 waits for.
//
// Numbers come from one counter of the machine and are never used twice, so a member that was forgotten
// and is met again cannot take a new entry for an old one.
type entryLog struct {
	entries []Entry
	before  uint64 // number of the entry before the first of entries; 0: the log begins anew
	through uint64 // the last number that was acknowledged
}

// acknowledged takes an acknowledgement, and reports whether it is new.
func (l *entryLog) acknowledged(through uint64) bool {
	if through <= l.through {
		return false
	}
	l.through = through
	n := 0
	for n < len(l.entries) && l.entries[n].Number <= through {
		l.before = l.entries[n].Number
		n++
	}
	clear(l.entries[:n])
	l.entries = l.entries[n:]
	return true
}

// last returns the number of the entry after which a new one comes.
func (l *entryLog) last() uint64 {
	if n := len(l.entries); n > 0 {
		return l.entries[n-1].Number
	}
	return l.before
}

// enqueue adds an entry to a member's log, sends it, and returns its number. A member whose log has grown
// too long is marked out, and copies when it is back: the entry is dropped, and the number returned is one
// that is never acknowledged.
func (m *Machine) enqueue(now Time, p *member, e Entry) uint64 {
	if len(p.log.entries) >= maxLog {
		m.view.markOut(now, p, "it does not acknowledge, and its log is full")
		return math.MaxUint64
	}
	m.members.lastEntry++
	e.Number = m.members.lastEntry
	before := p.log.last()
	p.log.entries = append(p.log.entries, e)
	m.out.send(p.row.Incarnation, &Message{Kind: Events, Sequence: before, Entries: []Entry{e}})
	return e.Number
}

// enqueueAll adds an entry to the log of every member that is not out.
func (m *Machine) enqueueAll(now Time, e Entry) {
	for _, p := range m.members.order {
		if p.state() != Out {
			m.enqueue(now, p, e)
		}
	}
}

// dropLog drops what a member that is out, or has no row, need not hear. Own events that wait to be
// cleared are announced to the member again should it come back: what was dropped must not count as
// acknowledged by the number of a later entry.
func (m *Machine) dropLog(p *member) {
	p.log.entries, p.log.before = nil, 0
	for _, o := range m.events.uncleared {
		delete(o.own.needs, p.row.Incarnation)
	}
}

// resend sends what a member has not acknowledged, in parts that fit a frame. With each connection the log
// begins anew: a member that has forgotten a writer, as that was without a row for long, would otherwise
// take nothing of its log any more. Nothing is lost by that, as everything before is acknowledged.
func (m *Machine) resend(p *member) {
	before := uint64(0)
	p.log.before = before
	for part := range slices.Chunk(p.log.entries, entriesInMessage) {
		m.out.send(p.row.Incarnation, &Message{Kind: Events, Sequence: before, Entries: slices.Clone(part)})
		before = part[len(part)-1].Number
	}
}
