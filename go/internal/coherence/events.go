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

// events is what this process knows of events: which are open, and which are settled.
type events struct {
	sequence  uint64 // of the last event of this process
	open      map[EventID]*openEvent
	usage     usages       // that of open
	uncleared []*openEvent // events of this process for which COMMIT may not be sent yet, in order
	doubt     doubt
	settled   settled
	recent    recent
	backlog   backlog // what a joiner has heard before it has its copy
	counts    Counts
}

// Counts are totals since the start.
type Counts struct {
	Announced    uint64 `json:"announced"`    // events of this process that were announced
	Cleared      uint64 `json:"cleared"`      // events of this process that every member has acknowledged
	Settled      uint64 `json:"settled"`      // events settled here, of all writers
	Acknowledged uint64 `json:"acknowledged"` // events of other writers that were heard
	Orphans      uint64 `json:"orphans"`      // events settled because the database said that they are over
	Refused      uint64 `json:"-"`            // settlements that others than the writer sent and that counted for nothing (R17)
}

// openEvent is an event that is announced and not settled.
type openEvent struct {
	event      Event
	since      Time
	own        *own          // nil: an event of another process
	cause      *list.Element // of doubt.causes; nil: it puts nothing in doubt here
	allTouched uint64        // doubt.allTouched just after the announcement

	bumped bool          // its nonce is in the table already: only its doubt has to end
	hinted bool          // another process than its writer has said that it is over
	before *transactions // open when it was first looked at as an orphan; nil: it was not
}

// own is what is kept of an event of this process.
type own struct {
	needs map[Incarnation]uint64 // number of the entry that a member has to acknowledge
	ackBy Time                   // when members that have not acknowledged are marked out
	given bool                   // the caller has the event's number
	lost  bool                   // the answer to COMMIT was lost (R9)
}

func newEvents(doubt doubt) events {
	return events{
		open:    make(map[EventID]*openEvent),
		usage:   make(usages),
		doubt:   doubt,
		settled: make(settled),
		backlog: newBacklog(),
	}
}

// Counts returns the totals.
func (m *Machine) Counts() Counts { return m.events.counts }

// Doubt returns how many events put something in doubt, how many buckets are in doubt now, and for how
// long the oldest of these events has been open.
func (m *Machine) Doubt(now Time) (open, buckets int, longest time.Duration) {
	for _, o := range m.events.open {
		if o.cause != nil {
			open++
			longest = max(longest, time.Duration(now-o.since))
		}
	}
	if buckets = len(m.events.doubt.buckets); m.events.doubt.allOpen > 0 {
		buckets = int(m.table.Buckets())
	}
	return open, buckets, longest
}

// Versions returns epoch and digest of the table: processes that return the same share versioned keys.
func (m *Machine) Versions() (epoch, digest uint64) {
	return m.table.settledWord(wordEpoch), m.table.digest
}

// maxBuckets is how many buckets an event names; one that may change more is over all buckets. It keeps
// every message, of up to entriesInMessage events, within a frame of 16 MiB.
const maxBuckets = 1 << 16

// Announce makes an event over buckets, or all of them, for a transaction of database that has written
// and not yet committed. Its buckets are in doubt here at once. The action [Cleared] says when COMMIT may
// be sent; [Machine.Settle] must follow however the transaction ends. With an error, such as
// [ErrTooManyOpen], there is no event, and nothing may be committed.
func (m *Machine) Announce(now Time, database string, all bool, buckets []uint32) (EventID, error) {
	ev := &m.events
	mine := ev.usage.of(m.cfg.Incarnation)
	if mine.events >= MaxOpenEvents {
		return EventID{}, fmt.Errorf("%w: %d, at most that many are allowed", ErrTooManyOpen, mine.events)
	}
	if database == "" && !m.cfg.Alone {
		return EventID{}, errors.New("coherence: an event names no database: only a process alone has such events")
	}
	if len(database) > MaxDatabaseID {
		return EventID{}, fmt.Errorf("coherence: the id of a database has %d bytes, at most %d are allowed",
			len(database), MaxDatabaseID)
	}
	ev.sequence++
	e := Event{
		ID:       EventID{m.cfg.Incarnation, ev.sequence},
		Nonce:    m.cfg.nonce(),
		Database: database,
	}
	slices.Sort(buckets)
	e.Buckets = slices.Compact(buckets)
	if e.All = all || len(e.Buckets) > maxBuckets || mine.buckets+len(e.Buckets) > maxOpenBuckets; e.All {
		e.Buckets = nil
	}
	ev.counts.Announced++
	o := ev.add(now, e, &own{needs: make(map[Incarnation]uint64), ackBy: now.Add(m.cfg.AckTimeout)})
	ev.uncleared = append(ev.uncleared, o)
	m.clearReady(now)
	o.own.given = true
	return e.ID, nil
}

// Settle ends an event of this process after the answer to COMMIT or ROLLBACK, or when COMMIT was never sent: it bumps
// the buckets here and notifies the members. It returns the buckets for which a value that the transaction
// has written may be stored under its versioned key from now on (R8): those that no other event has
// touched meanwhile.
func (m *Machine) Settle(now Time, id EventID) (pushable []uint32) {
	ev := &m.events
	o := ev.open[id]
	if o == nil || o.own == nil {
		return nil // settled already, as an orphan
	}
	ev.uncleared = slices.DeleteFunc(ev.uncleared, func(w *openEvent) bool { return w == o })
	if m.join.hasCopy() {
		pushable = ev.doubt.untouched(o)
	}
	ev.settle(o, m.join.hasCopy())
	m.enqueueAll(now, Entry{Event: o.event, Settled: true})
	return pushable
}

// Since returns when an open event was announced here, which was before its COMMIT.
func (m *Machine) Since(id EventID) (since Time, open bool) {
	if o := m.events.open[id]; o != nil {
		return o.since, true
	}
	return 0, false
}

// Lost reports that the answer to COMMIT was lost: the event stays open until the database says that its
// transaction is over (R9).
func (m *Machine) Lost(id EventID) {
	if o := m.events.open[id]; o != nil && o.own != nil {
		o.own.lost = true
	}
}

// addUnknown takes an event as open, unless it is known already.
func (ev *events) addUnknown(now Time, e Event) {
	if ev.open[e.ID] == nil && !ev.settled.has(e.ID) {
		ev.add(now, e, nil)
	}
}

// add takes an event that is not open as open, whatever else is known of it.
func (ev *events) add(now Time, e Event, own *own) *openEvent {
	o := &openEvent{event: e, since: now, own: own}
	ev.open[e.ID] = o
	ev.usage.add(&e)
	ev.doubt.begin(o)
	o.allTouched = ev.doubt.allTouched
	return o
}

// settle ends an open event. The bump comes first: a bucket that is out of doubt has its new version.
// That is so for a joiner too, though its copy will bring another table: a reader that was stopped may
// have loaded a deadline of before, and looks at this table.
func (ev *events) settle(o *openEvent, hasCopy bool) {
	switch {
	case !hasCopy:
		ev.backlog.settle(o.event)
		ev.bump(o.event)
	case !o.bumped:
		ev.bump(o.event)
		ev.count(o.event)
	}
	ev.settled.mark(o.event.ID)
	ev.close(o)
}

// settleByWriter is for a settlement that the event's own writer has sent. The event may have been given
// up before it was announced here.
func (ev *events) settleByWriter(e Event, hasCopy bool) {
	switch o := ev.open[e.ID]; {
	case o != nil:
		ev.settle(o, hasCopy)
	case !hasCopy:
		ev.backlog.settle(e)
	case !ev.settled.has(e.ID):
		ev.bump(e)
		ev.count(e)
		ev.settled.mark(e.ID)
	}
}

func (ev *events) bump(e Event) { ev.doubt.bump(e.All, e.Buckets, e.Nonce) }

// count counts an event as settled here, which happens once.
func (ev *events) count(e Event) {
	ev.recent.add(e)
	ev.counts.Settled++
}

// close forgets an open event and ends its doubt.
func (ev *events) close(o *openEvent) {
	ev.doubt.end(o)
	delete(ev.open, o.event.ID)
	ev.usage.remove(&o.event)
}

// announced returns an event that is open, or that a joiner has heard of.
func (ev *events) announced(id EventID) *Event {
	if o := ev.open[id]; o != nil {
		return &o.event
	}
	if e, known := ev.backlog.open[id]; known {
		return &e
	}
	return nil
}

// writersInDoubt returns the writers whose events put something in doubt here, or will do so after a copy.
func (ev *events) writersInDoubt() map[Incarnation]struct{} {
	writers := make(map[Incarnation]struct{})
	for id, o := range ev.open {
		if o.cause != nil {
			writers[id.Writer] = struct{}{}
		}
	}
	for id := range ev.backlog.open {
		writers[id.Writer] = struct{}{}
	}
	return writers
}

// inOrder returns open events in a fixed order.
func inOrder(open map[EventID]*openEvent) []*openEvent {
	return slices.SortedFunc(maps.Values(open), func(a, b *openEvent) int { return compareIDs(a.event.ID, b.event.ID) })
}

func compareIDs(a, b EventID) int {
	return cmp.Or(cmp.Compare(a.Writer, b.Writer), cmp.Compare(a.Sequence, b.Sequence))
}
