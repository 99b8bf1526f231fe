package coherence

import (
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// events is what the machine knows of events: which are open, and which are settled.
type events struct {
	doubts
	sequence uint64 // of the own events
	open     map[EventID]*openEvent
	load     loads        // that of open
	waiting  []*openEvent // the own ones for which COMMIT may not be sent yet, in order
	settled  map[Incarnation]*settledBy
	allSeen  uint64 // how often an event over all buckets was announced or settled
	told     told   // what a joiner heard before it had its copy
	counts   Counts
}

// Counts are totals since the start.
type Counts struct {
	Announced    uint64 // own events announced
	Cleared      uint64 // own events that every member acknowledged
	Settled      uint64 // events settled here, anyone's
	Acknowledged uint64 // events of others that were heard
	Orphans      uint64 // events settled because the database said that they are over
	Refused      uint64 // settlements told by others than the writer that counted for nothing (R17)
}

// Counts returns the totals.
func (m *Machine) Counts() Counts { return m.counts }

// Doubt tells how many events put something in doubt, how many buckets are in doubt now, and for
// how long the oldest of these events has been open.
func (m *Machine) Doubt(now Time) (open, buckets int, longest time.Duration) {
	for _, o := range m.open {
		if o.cause != nil {
			open++
			longest = max(longest, time.Duration(now-o.since))
		}
	}
	if buckets = len(m.doubt); m.allOpen > 0 {
		buckets = int(m.table.Buckets())
	}
	return open, buckets, longest
}

// Versions tells epoch and digest of the table: processes that show the same share names.
func (m *Machine) Versions() (epoch, digest uint64) {
	return m.table.settledWord(wordEpoch), m.table.digest
}

type openEvent struct {
	event   Event
	since   Time
	own     *own          // an event of this process
	cause   *list.Element // of doubts.causes; nil: it puts nothing in doubt here
	allSeen uint64        // events.allSeen just after the announcement

	renamed bool          // its nonce is in the table already: only its doubt has to end
	hinted  bool          // another than its writer has told that it is over
	before  *transactions // open when it was first looked at as an orphan; nil: it was not
}

// own is the state of an event of this process until COMMIT may be sent, and after.
type own struct {
	needs map[Incarnation]uint64 // entry that a member has to acknowledge
	slow  Time                   // when who has not acknowledged is marked out
	given bool                   // whoever announces has its number
	lost  bool                   // the answer to COMMIT was lost (R9)
}

func newEvents(doubts doubts) events {
	return events{
		doubts:  doubts,
		open:    make(map[EventID]*openEvent),
		load:    make(loads),
		settled: make(map[Incarnation]*settledBy),
		told:    newTold(),
	}
}

// maxBuckets is how many buckets an event names; one that may change more is over all of them.
// It keeps every message, of up to entriesInMessage events, within a frame of 16 MiB.
const maxBuckets = 1 << 16

// Announce makes an event over buckets, or all, of a transaction of database that has written
// and not yet committed. Its buckets are in doubt here at once. The action [Cleared] tells
// when COMMIT may be sent; [Machine.Settle] must follow however the transaction ends. With an
// error, as [ErrTooManyOpen], there is no event, and nothing may be committed.
func (m *Machine) Announce(now Time, database string, all bool, buckets []uint32) (EventID, error) {
	mine := m.load.of(m.cfg.Incarnation)
	if mine.events >= MaxOpenEvents {
		return EventID{}, fmt.Errorf("%w: %d, which is the most", ErrTooManyOpen, mine.events)
	}
	if database == "" && !m.cfg.Alone {
		return EventID{}, errors.New("coherence: an event names no database: only a process alone has such")
	}
	if len(database) > MaxDatabaseID {
		return EventID{}, fmt.Errorf("coherence: the id of a database has %d bytes, at most %d are allowed",
			len(database), MaxDatabaseID)
	}
	m.sequence++
	e := Event{
		ID:       EventID{m.cfg.Incarnation, m.sequence},
		Nonce:    m.even(),
		Database: database,
	}
	slices.Sort(buckets)
	e.Buckets = slices.Compact(buckets)
	if e.All = all || len(e.Buckets) > maxBuckets || mine.buckets+len(e.Buckets) > maxOpenBuckets; e.All {
		e.Buckets = nil
	}
	m.counts.Announced++
	o := m.addOpen(now, e, &own{needs: make(map[Incarnation]uint64), slow: now.Add(m.cfg.AckTimeout)})
	m.waiting = append(m.waiting, o)
	m.tryAll(now)
	o.own.given = true
	return e.ID, nil
}

// Settle ends an own event after the answer to COMMIT or ROLLBACK, or when COMMIT was never
// sent: renames at home and tells the others. It returns the buckets for which a value
// written by the transaction may be stored under its version from now on (R8): those that
// no other event touched meanwhile.
func (m *Machine) Settle(now Time, id EventID) (pushable []uint32) {
	o := m.open[id]
	if o == nil || o.own == nil {
		return nil // settled already, as an orphan
	}
	m.waiting = slices.DeleteFunc(m.waiting, func(w *openEvent) bool { return w == o })
	if m.hasState() && !o.event.All && m.allOpen == 0 && o.allSeen == m.allSeen {
		for _, b := range o.event.Buckets {
			if d := m.doubt[b]; d.events == 1 && !d.contended {
				pushable = append(pushable, b)
			}
		}
	}
	m.settle(o)
	m.tellAll(now, Entry{Event: o.event, Settled: true})
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

// openEvent takes an event as open, unless it is known already.
func (m *Machine) openEvent(now Time, e Event) {
	if m.open[e.ID] == nil && !m.isSettled(e.ID) {
		m.addOpen(now, e, nil)
	}
}

// addOpen takes an event that is not open as open, whatever is known of it besides.
func (m *Machine) addOpen(now Time, e Event, own *own) *openEvent {
	o := &openEvent{event: e, since: now, own: own}
	m.open[e.ID] = o
	m.load.add(&e)
	m.bringIntoDoubt(o)
	o.allSeen = m.allSeen
	return o
}

// settle ends an open event. The rename comes first: a bucket that is out of doubt has its new name.
// That is so for a joiner too, though it will have another table: a reader that was stopped may have
// loaded a deadline of before, and looks at this one.
func (m *Machine) settle(o *openEvent) {
	switch {
	case !m.hasState():
		m.told.ended(o.event)
		m.rename(o.event)
	case !o.renamed:
		m.rename(o.event)
		m.count(o.event)
	}
	m.markSettled(o.event.ID)
	m.close(o)
}

// count is for an event that is settled here, once for each.
func (m *Machine) count(e Event) {
	m.remember(e)
	m.counts.Settled++
}

// close forgets an open event, and with it the doubt that is its.
func (m *Machine) close(o *openEvent) {
	m.endDoubt(o)
	delete(m.open, o.event.ID)
	m.load.remove(&o.event)
}

// settleAsWriter is for a settlement that the event's own writer has told: it may be of an event that
// was given up before it was announced here.
func (m *Machine) settleAsWriter(e Event) {
	switch o := m.open[e.ID]; {
	case o != nil:
		m.settle(o)
	case !m.hasState():
		m.told.ended(e)
	case !m.isSettled(e.ID):
		m.rename(e)
		m.count(e)
		m.markSettled(e.ID)
	}
}

// rename adds an event's nonce. What other events have in doubt was touched by this one.
func (m *Machine) rename(e Event) {
	if e.All {
		m.allSeen++
		m.table.add(wordEpoch, e.Nonce)
	}
	for _, b := range e.Buckets {
		m.table.add(TableHeader+int(b), e.Nonce)
		if d := m.doubt[b]; d != nil {
			d.contended = true
		}
	}
}

func (e *Event) equal(f *Event) bool {
	return e.ID == f.ID && e.Nonce == f.Nonce && e.Database == f.Database && e.All == f.All &&
		slices.Equal(e.Buckets, f.Buckets)
}

// inOrder returns open events in a fixed order.
func inOrder(open map[EventID]*openEvent) []*openEvent {
	events := make([]*openEvent, 0, len(open))
	for _, id := range sortedIDs(open) {
		events = append(events, open[id])
	}
	return events
}

func sortedIDs[E any](events map[EventID]E) []EventID {
	return slices.SortedFunc(maps.Keys(events), compareIDs)
}

func compareIDs(a, b EventID) int {
	return cmp.Or(cmp.Compare(a.Writer, b.Writer), cmp.Compare(a.Sequence, b.Sequence))
}
