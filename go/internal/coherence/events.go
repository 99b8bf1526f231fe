package coherence

import (
	"slices"
	"time"
)

// events is what the machine knows of events: which are open, which are settled, and what is
// in doubt because of them.
type events struct {
	sequence uint64 // of the own events
	open     map[EventID]*openEvent
	waiting  []*openEvent // the own ones for which COMMIT may not be sent yet, in order
	settled  map[Incarnation]*settledBy
	doubt    map[uint32]*doubt // buckets with an open event
	allOpen  int               // open events over all buckets
	allSeen  uint64            // how often an event over all buckets was announced or settled
	told     []Entry           // what a joiner heard before it had its copy, in order
	counts   Counts
}

// Counts are totals since the start.
type Counts struct {
	Announced    uint64 // own events announced
	Passed       uint64 // own events that every member acknowledged
	Settled      uint64 // events settled here, anyone's
	Acknowledged uint64 // events of others that were heard
	Orphans      uint64 // events settled because the database said that they are over
}

// Counts returns the totals.
func (m *Machine) Counts() Counts { return m.counts }

// Doubt tells how many events are open and buckets in doubt now, and for how long the oldest
// of these events has been open.
func (m *Machine) Doubt(now Time) (open, buckets int, longest time.Duration) {
	for _, o := range m.open {
		longest = max(longest, time.Duration(now-o.since))
	}
	if buckets = len(m.doubt); m.allOpen > 0 {
		buckets = int(m.table.Buckets())
	}
	return len(m.open), buckets, longest
}

// Versions tells epoch and digest of the table: processes that show the same share names.
func (m *Machine) Versions() (epoch, digest uint64) {
	return m.table.settledWord(wordEpoch), m.table.digest
}

type openEvent struct {
	event   Event
	since   Time
	before  []string // writing transactions open when it was first looked at as an orphan
	asked   bool     // before is known
	own     *own     // an event of this process
	allSeen uint64   // events.allSeen just after the announcement
}

// own is the state of an event of this process until COMMIT may be sent, and after.
type own struct {
	needs map[Incarnation]uint64 // entry that a member has to acknowledge
	slow  Time                   // when who has not acknowledged is marked out
	lost  bool                   // the answer to COMMIT was lost (R9)
}

type doubt struct {
	events    int
	contended bool // more than one event touched the bucket since it came into doubt
}

type settledBy struct {
	through uint64
	above   map[uint64]struct{}
	gone    Time // since when the writer has no row
}

func newEvents() events {
	return events{
		open:    make(map[EventID]*openEvent),
		settled: make(map[Incarnation]*settledBy),
		doubt:   make(map[uint32]*doubt),
	}
}

// maxBuckets is how many buckets an event names; one that may change more is over all of them.
// It keeps every message, of up to entriesInMessage events, within a frame of 16 MiB.
const maxBuckets = 1 << 16

// Announce makes an event over buckets, or all, of a transaction of database that has written
// and not yet committed. Its buckets are in doubt here at once. The action [Passed] tells
// when COMMIT may be sent; [Machine.Settle] must follow however the transaction ends.
func (m *Machine) Announce(now Time, database string, all bool, buckets []uint32) EventID {
	m.sequence++
	e := Event{
		ID:       EventID{m.cfg.Incarnation, m.sequence},
		Nonce:    m.even(),
		Database: database,
	}
	slices.Sort(buckets)
	e.Buckets = slices.Compact(buckets)
	if e.All = all || len(e.Buckets) > maxBuckets; e.All {
		e.Buckets = nil
	}
	m.counts.Announced++
	o := m.openEvent(now, e)
	o.own = &own{needs: make(map[Incarnation]uint64), slow: now.Add(m.cfg.AckTimeout)}
	m.waiting = append(m.waiting, o)
	m.tryAll(now)
	return e.ID
}

// Settle ends an own event after the answer to COMMIT or ROLLBACK, or when COMMIT was never
// sent: renames at home and tells the others. It returns the buckets for which a value
// written by the transaction may be stored under its version from now on (R8): those that
// no other event touched meanwhile.
func (m *Machine) Settle(now Time, id EventID) (pushable []uint32) {
	o := m.open[id]
	if o == nil {
		return nil // settled already, as an orphan
	}
	settled := Entry{Event: o.event, Settled: true}
	m.waiting = slices.DeleteFunc(m.waiting, func(w *openEvent) bool { return w == o })
	if !m.hasState() {
		m.keep(settled)
		m.tellAll(now, settled)
		return nil
	}
	if !o.event.All && m.allOpen == 0 && o.allSeen == m.allSeen {
		for _, b := range o.event.Buckets {
			if d := m.doubt[b]; d.events == 1 && !d.contended {
				pushable = append(pushable, b)
			}
		}
	}
	m.settle(o.event)
	m.tellAll(now, settled)
	return pushable
}

// Since tells when an open event was announced here, which was before its COMMIT.
func (m *Machine) Since(id EventID) (since Time, open bool) {
	if o := m.open[id]; o != nil {
		return o.since, true
	}
	return 0, false
}

// Lost tells that the answer to COMMIT was lost: the event stays open until the database says
// that its transaction is over (R9).
func (m *Machine) Lost(id EventID) {
	if o := m.open[id]; o != nil && o.own != nil {
		o.own.lost = true
	}
}

func (m *Machine) tellAll(now Time, e Entry) {
	for _, p := range m.order {
		if p.row.State != Out && !p.gone {
			m.tell(now, p, e)
		}
	}
}

// learn takes an entry of another one's log.
func (m *Machine) learn(now Time, e Entry) {
	if !e.Settled {
		m.counts.Acknowledged++
	}
	if m.hasState() {
		m.apply(now, e)
	} else {
		m.keep(e)
	}
}

// keep is for who has no copy yet: what was acknowledged is never forgotten (R5). When it is
// too much settlements are dropped: their events then stay in doubt and end as orphans.
func (m *Machine) keep(e Entry) {
	if !e.Settled || len(m.told) < maxLog {
		m.told = append(m.told, e)
	}
}

func (m *Machine) apply(now Time, e Entry) {
	if e.Settled {
		m.settle(e.Event)
	} else {
		m.openEvent(now, e.Event)
	}
}

// openEvent brings an event's buckets into doubt, unless it is known already.
func (m *Machine) openEvent(now Time, e Event) *openEvent {
	if o := m.open[e.ID]; o != nil || m.isSettled(e.ID) {
		return o
	}
	if e.All {
		m.allOpen++
		m.allSeen++
		m.table.setDoubt(wordEpoch, true)
	}
	for _, b := range e.Buckets {
		d := m.doubt[b]
		if d == nil {
			d = &doubt{}
			m.doubt[b] = d
			m.table.setDoubt(TableHeader+int(b), true)
		}
		d.events++
		d.contended = d.contended || d.events > 1
	}
	o := &openEvent{event: e, since: now, allSeen: m.allSeen}
	m.open[e.ID] = o
	return o
}

// settle renames, once for each event however often it is told, and ends its doubt. The
// rename comes first: a bucket that is out of doubt has its new name.
func (m *Machine) settle(e Event) {
	if !m.isSettled(e.ID) {
		m.markSettled(e.ID)
		m.remember(e)
		m.counts.Settled++
		if e.All {
			m.allSeen++
			m.table.add(wordEpoch, e.Nonce)
		}
		for _, b := range e.Buckets {
			m.table.add(TableHeader+int(b), e.Nonce)
		}
	}
	if _, known := m.open[e.ID]; !known {
		for _, b := range e.Buckets {
			if d := m.doubt[b]; d != nil {
				d.contended = true
			}
		}
		return
	}
	delete(m.open, e.ID)
	if e.All {
		if m.allOpen--; m.allOpen == 0 {
			m.table.setDoubt(wordEpoch, false)
		}
	}
	for _, b := range e.Buckets {
		if d := m.doubt[b]; d.events > 1 {
			d.events--
		} else {
			delete(m.doubt, b)
			m.table.setDoubt(TableHeader+int(b), false)
		}
	}
}

func (m *Machine) isSettled(id EventID) bool {
	by := m.settled[id.Writer]
	if by == nil {
		return false
	}
	_, above := by.above[id.Sequence]
	return above || id.Sequence <= by.through
}

// markSettled keeps, for each writer, the number through which all are settled and the few
// above it, so that the memory does not grow with the number of events.
func (m *Machine) markSettled(id EventID) {
	by := m.settled[id.Writer]
	if by == nil {
		by = &settledBy{above: make(map[uint64]struct{})}
		m.settled[id.Writer] = by
	}
	by.above[id.Sequence] = struct{}{}
	for {
		if _, next := by.above[by.through+1]; !next {
			return
		}
		by.through++
		delete(by.above, by.through)
	}
}
