package coherence

import (
	"maps"
	"slices"
	"time"
)

// Two processes that began with the same copy and have settled the same events hold the same
// table whatever the order, and so share versioned keys. An event that was announced and then given
// up before every member heard of it can leave them different, and so can an election that overlaps
// with the last step of a joiner. That is never wrong, but costs the sharing. So each tells another
// one now and then what it has settled and is told what it lacks, which is a hint to ask the
// database (R17). A member that differs from the eldest for good copies anew from it. What was
// written from outside (R14) each finds by itself: as long as two have not applied the same notes
// they may differ.

// maxRecent bounds what is kept to level others: settled events, each counted with its buckets.
const maxRecent = 1 << 14

// levelling is what is kept for that.
type levelling struct {
	recent []Event // the last settled events, oldest first
	weight int     // events and buckets in recent
	level  Time    // when to compare next

	anewAt    Time          // before which it does not copy anew because versions differ
	anewPause time.Duration // until then, when that was set
}

func (l *levelling) remember(e Event) {
	l.recent = append(l.recent, e)
	l.weight += 1 + len(e.Buckets)
	for l.weight > maxRecent {
		l.weight -= 1 + len(l.recent[0].Buckets)
		l.recent[0] = Event{}
		l.recent = l.recent[1:]
	}
}

// compare tells the eldest member what is settled here, and the eldest tells a random one.
func (m *Machine) compare(now Time) {
	if m.phase != joined || now < m.level {
		return
	}
	m.level = now.Add(m.cfg.Lease)
	other := m.eldest()
	if other == nil {
		other, _ = m.sources()
	} else if other.differs.times > 0 {
		m.level = now.Add(m.cfg.Lease / 2) // until it is known whether that is so for good
	}
	if other != nil {
		m.sendCompare(now, other.row.Incarnation, 1)
	}
}

func (m *Machine) sendCompare(now Time, to Incarnation, attempt uint64) {
	state := &Snapshot{Settled: m.packSettled(), Applied: m.packApplied()}
	for _, database := range slices.Sorted(maps.Keys(m.causes)) {
		for e := m.causes[database].Front(); e != nil; e = e.Next() {
			if o := e.Value.(*openEvent); m.isOrphan(now, o) {
				state.Open = append(state.Open, Event{ID: o.event.ID})
			}
		}
	}
	m.send(to, &Message{Kind: Digest, Attempt: attempt, Sequence: m.table.digest, State: state})
}

// compared answers with what the other one lacks, and, when it was the one to begin, with
// what is settled here. A member asks that twice a lease at most.
func (m *Machine) compared(now Time, p *member, message *Message) {
	if m.phase != joined || message.State == nil || !p.isIn() || message.Attempt > 1 {
		return
	}
	last := &p.compared[message.Attempt]
	if *last > 0 && now < last.Add(m.cfg.Lease/4) {
		return
	}
	*last = now
	from, theirs := p.row.Incarnation, message.State.Settled
	if p == m.eldest() && m.differsForGood(p, message) && m.isDrawn() && m.copiesAnew(now) {
		m.note("its versions differ from another member's: joins again")
		m.phase, m.prefer = unlisted, from
		m.publish()
		return
	}
	var lacking []Entry
	for _, e := range m.recent {
		if m.isTold(now, e.ID.Writer) && !theirs[e.ID.Writer].has(e.ID.Sequence) {
			lacking = append(lacking, Entry{Event: e, Settled: true})
		}
	}
	for part := range slices.Chunk(lacking, entriesInMessage) {
		m.send(from, &Message{Kind: Repair, Entries: part})
	}
	if message.Attempt == 1 {
		m.sendCompare(now, from, 0)
	}
}

// tellFor is for how long after its row has gone others are told of a writer's events. Who refuses them,
// or has forgotten the writer, would be told of them all with every comparison.
const tellFor = time.Minute

func (m *Machine) isTold(now Time, who Incarnation) bool {
	since, gone := m.rowless[who]
	return m.settled[who] != nil && (!gone || now < since.Add(tellFor))
}

// differsForGood tells whether two tables differ though nothing is on its way that would make them
// equal: both have settled and applied the same, or the same event is settled at one of the two only, three times
// in a row, and no database is asked of it. It was announced to one of the two and then given up, or its writer
// has died, and the other one refuses to hear of it from anybody else.
func (m *Machine) differsForGood(p *member, message *Message) bool {
	if message.Sequence == m.table.digest {
		p.differs = difference{}
		return false
	}
	c := comparison{m, m.packSettled(), message.State.Settled, message.State.Open}
	id, equal := c.first()
	if last := p.differs.id; p.differs.times > 0 && c.stays(last) && (id == last || !c.isForgotten(last.Writer)) {
		p.differs.times++
		return p.differs.times >= 3
	}
	if p.differs = (difference{}); id != (EventID{}) {
		p.differs = difference{id, 1}
	}
	return equal && slices.Equal(m.packApplied(), message.State.Applied)
}

// difference is an event that is settled at one of two members, in so many comparisons in a row.
type difference struct {
	id    EventID
	times int
}

// comparison is of what two members have settled. Of what is asked the other one waits for the answer
// of a database.
type comparison struct {
	m            *Machine
	ours, theirs map[Incarnation]SettledBy
	asked        []Event
}

// first returns an event that one of the two has settled and the other has not, and that may stay so,
// where there is one; and whether both have settled the same. One of a writer that one of the two may
// have forgotten counts only where nothing else differs: then it is the event that makes the tables differ.
func (c *comparison) first() (first EventID, equal bool) {
	equal = true
	var forgotten EventID
	others := false
	for _, packed := range []map[Incarnation]SettledBy{c.ours, c.theirs} {
		for who := range packed {
			sequence, differs := c.ours[who].differs(c.theirs[who])
			if !differs {
				continue
			}
			equal = false
			soonest := &first
			if c.isForgotten(who) {
				soonest = &forgotten
			} else {
				others = true
			}
			id := EventID{who, sequence}
			if c.stays(id) && (*soonest == EventID{} || c.m.isSooner(id, *soonest)) {
				*soonest = id
			}
		}
	}
	if !others {
		first = forgotten
	}
	return first, equal
}

// stays tells whether an event is settled at one of the two only, and no database is asked of it.
func (c *comparison) stays(id EventID) bool {
	if o := c.m.open[id]; o != nil && o.cause != nil {
		return false
	}
	return c.ours[id.Writer].has(id.Sequence) != c.theirs[id.Writer].has(id.Sequence) &&
		!slices.ContainsFunc(c.asked, func(e Event) bool { return e.ID == id })
}

// isForgotten tells whether one of the two may have forgotten a writer, which each does at its own time.
func (c *comparison) isForgotten(who Incarnation) bool {
	_, here := c.ours[who]
	_, there := c.theirs[who]
	return here != there && !c.m.Listed(who)
}

// isSooner orders events by how little is to be hoped for: those of writers that are not alive come first, as
// what another one has just settled may be on its way.
func (m *Machine) isSooner(a, b EventID) bool {
	if live := m.isLive(a.Writer); live != m.isLive(b.Writer) {
		return !live
	}
	return compareIDs(a, b) < 0
}

// atATime is how many members copy anew at a time, as a rule.
const atATime = 8

// isDrawn draws who copies anew: where it is the eldest that differs, all others do, and all of them at once
// would leave it alone to serve, with dozens of copies to give.
func (m *Machine) isDrawn() bool {
	one := uint64(len(m.order)) / atATime
	return one < 2 || m.cfg.Random()%one == 0
}

// copiesAnew tells whether this process may copy anew because its versions are others than another
// member's. After each time it pauses, and longer, so that one that lies does not keep it from serving.
func (m *Machine) copiesAnew(now Time) bool {
	if now < m.anewAt {
		return false
	}
	if now >= m.anewAt.Add(maxAnew*m.cfg.Lease) {
		m.anewPause = 0
	}
	m.anewPause = min(max(2*m.anewPause, minAnew*m.cfg.Lease), maxAnew*m.cfg.Lease)
	m.anewAt = now.Add(m.anewPause)
	return true
}

// eldest returns the member with whom the others compare, and from whom they copy anew; nil where that is
// this process. Any two that copy from different ones may differ still. It is no client: clients do not
// reach each other, and could not pass on what they have.
func (m *Machine) eldest() *member {
	for _, p := range m.order {
		if p.isIn() && !p.gone && p.row.Address != "" {
			if m.cfg.Address != "" && p.row.Incarnation > m.cfg.Incarnation {
				return nil
			}
			return p
		}
	}
	return nil
}

// levelled takes what another one has settled, and this process lacks.
func (m *Machine) levelled(now Time, p *member, message *Message) {
	if m.phase == joined && p.isIn() {
		for _, e := range message.Entries {
			m.learn(now, p.row.Incarnation, e)
		}
	}
}
