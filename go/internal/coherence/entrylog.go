package coherence

import (
	"math"
	"slices"
)

// entriesInMessage keeps a message within a frame.
const entriesInMessage = 64

// log is what one member is told, in order and again after a broken connection, until it has
// acknowledged it. An acknowledged announcement is what R3 waits for.
//
// Numbers come from one counter of the machine and are never used twice, so a member that was
// forgotten and is met again cannot take a new entry for an old one.
type log struct {
	entries []Entry
	before  uint64 // number of the entry before the first of entries; 0: the log begins anew
	through uint64 // the last number that was acknowledged
}

// acknowledged tells whether that is news.
func (l *log) acknowledged(through uint64) bool {
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

// last is the number of the entry after which a new one comes.
func (l *log) last() uint64 {
	if n := len(l.entries); n > 0 {
		return l.entries[n-1].Number
	}
	return l.before
}

// tell adds an entry to a member's log, sends it, and returns its number. One that has let
// its log grow too long is marked out, and copies when it is back: the entry is dropped, and
// the number returned is one that is never acknowledged.
func (m *Machine) tell(now Time, p *member, e Entry) uint64 {
	if len(p.log.entries) >= maxLog {
		m.markOut(now, p, "it does not acknowledge, and its log is full")
		return math.MaxUint64
	}
	m.number++
	e.Number = m.number
	before := p.log.last()
	p.log.entries = append(p.log.entries, e)
	m.sendEntries(p, before, []Entry{e})
	return e.Number
}

// dropLog drops what a member that is out, or has no row, need not hear. Own events that
// still wait are announced to it again should it come back: what was dropped must not count
// as acknowledged by the number of something later.
func (m *Machine) dropLog(p *member) {
	p.log.entries, p.log.before = nil, 0
	for _, o := range m.waiting {
		delete(o.own.needs, p.row.Incarnation)
	}
}

// resend sends what a member has not acknowledged, in parts that fit a frame. With each connection the
// log begins anew: the member may have forgotten a writer that was long without a row, and would take
// nothing of its log any more. Nothing is lost by that, as all that came before is acknowledged.
func (m *Machine) resend(p *member) {
	before := uint64(0)
	p.log.before = before
	for part := range slices.Chunk(p.log.entries, entriesInMessage) {
		m.sendEntries(p, before, slices.Clone(part))
		before = part[len(part)-1].Number
	}
}

func (m *Machine) sendEntries(p *member, before uint64, entries []Entry) {
	m.send(p.row.Incarnation, &Message{Kind: Events, Sequence: before, Entries: entries})
}

func (p *member) describe() string {
	if p.row.Address == "" {
		return "a client"
	}
	return p.row.Address
}
