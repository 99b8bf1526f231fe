package coherence

import (
	"slices"
	"time"
)

// Two processes that began with the same copy and have settled the same events hold the same table
// whatever the order, and so share versioned keys. An event that was announced and then given up before
// every member heard of it can leave them different, and so can an election that overlaps with the last
// step of a joiner. That is never wrong, but costs the sharing. So each process sends another one now and
// then a digest of what it has settled, and is sent what it lacks, which is a hint to ask the database
// (R17). A member that keeps differing from the eldest copies anew from it. Writes
// from outside (R14) are found by each process itself: as long as two have not applied the same notes they may
// differ.

// antientropy is when to compare, and when this process may copy anew because versions differ.
type antientropy struct {
	nextDigest  Time          // when to send one
	copyAgainAt Time          // before which this process does not copy anew
	copyPause   time.Duration // that was kept until then
}

// copiersAtATime is how many members copy anew at a time, as a rule.
const copiersAtATime = 8

// isDrawn draws whether this process copies anew: where it is the eldest that differs, all others differ
// from it, and all of them at once would leave it alone to serve, with dozens of copies to give.
func (ms *members) isDrawn() bool {
	share := uint64(len(ms.order)) / copiersAtATime
	return share < 2 || ms.cfg.Random()%share == 0
}

// mayCopyAnew reports whether this process may copy anew because its versions differ from another
// member's. After each time it pauses, and longer the next time, so that a member that lies does not keep
// it from serving.
func (a *antientropy) mayCopyAnew(now Time, lease time.Duration) bool {
	if now < a.copyAgainAt {
		return false
	}
	if now >= a.copyAgainAt.Add(maxCopyPause*lease) {
		a.copyPause = 0
	}
	a.copyPause = min(max(2*a.copyPause, minCopyPause*lease), maxCopyPause*lease)
	a.copyAgainAt = now.Add(a.copyPause)
	return true
}

// sendDigests sends the eldest member what is settled here; the eldest sends it to a random member.
func (m *Machine) sendDigests(now Time) {
	if now < m.antientropy.nextDigest {
		return
	}
	m.antientropy.nextDigest = now.Add(m.cfg.Lease)
	other := m.members.eldest()
	if other == nil {
		other, _ = m.join.sources()
	} else if other.differs.times > 0 {
		m.antientropy.nextDigest = now.Add(m.cfg.Lease / 2) // until it is known whether the two keep differing
	}
	if other != nil {
		m.sendDigest(now, other.row.Incarnation, wantsDigest)
	}
}

// wantsDigest is the attempt of a digest that wants the receiver's in return.
const wantsDigest = 1

func (m *Machine) sendDigest(now Time, to Incarnation, attempt uint64) {
	state := &Snapshot{Settled: m.events.settled.pack(), Applied: m.outside.packApplied(), Open: m.orphans.ids(now)}
	m.out.send(to, &Message{Kind: Digest, Attempt: attempt, Sequence: m.table.digest, State: state})
}

// digestReceived sends a member what it lacks, and what is settled here if the member wants that. A member
// is answered twice per lease at most.
func (m *Machine) digestReceived(now Time, p *member, message *Message) {
	if m.join.phase != joined || message.State == nil || !p.isIn() || message.Attempt > wantsDigest {
		return
	}
	last := &p.digestsAt[message.Attempt]
	if *last > 0 && now < last.Add(m.cfg.Lease/4) {
		return
	}
	*last = now
	from := p.row.Incarnation
	if p == m.members.eldest() && m.keepsDiffering(p, message) && m.members.isDrawn() && m.antientropy.mayCopyAnew(now, m.cfg.Lease) {
		m.out.log("its versions differ from another member's: it joins again")
		m.join.phase, m.join.preferred = unlisted, from
		m.publish()
		return
	}
	m.out.sendInParts(from, Repair, m.lacking(now, message.State.Settled))
	if message.Attempt == wantsDigest {
		m.sendDigest(now, from, 0)
	}
}

// repairFor is for how long after its row has gone a writer's events are sent to members that lack them. A
// member that refuses them, or has forgotten the writer, would be sent all of them with every comparison.
const repairFor = time.Minute

// lacking returns the recent settlements that a member lacks.
func (m *Machine) lacking(now Time, theirs map[Incarnation]SettledBy) (lacking []Entry) {
	for _, e := range m.events.recent.events {
		since, gone := m.writers.rowless[e.ID.Writer]
		isSent := m.events.settled[e.ID.Writer] != nil && (!gone || now < since.Add(repairFor))
		if isSent && !theirs[e.ID.Writer].has(e.ID.Sequence) {
			lacking = append(lacking, Entry{Event: e, Settled: true})
		}
	}
	return lacking
}

// keepsDiffering reports whether two tables differ though nothing is on its way that would make them
// equal: both have settled and applied the same; or the same event is settled at one of the two only, three
// times in a row, and no database is asked about it. That event was announced to one of the two and then
// given up, or its writer has died, and the other one refuses to hear of it from any other process.
func (m *Machine) keepsDiffering(p *member, message *Message) bool {
	if message.Sequence == m.table.digest {
		p.differs = difference{}
		return false
	}
	c := comparison{m, m.events.settled.pack(), message.State.Settled, message.State.Open}
	id, equal := c.first()
	if last := p.differs.id; p.differs.times > 0 && c.stays(last) && (id == last || !c.isForgotten(last.Writer)) {
		p.differs.times++
		return p.differs.times >= 3
	}
	if p.differs = (difference{}); id != (EventID{}) {
		p.differs = difference{id, 1}
	}
	return equal && slices.Equal(m.outside.packApplied(), message.State.Applied)
}

// difference is an event that is settled at one of two members only, in so many comparisons in a row.
type difference struct {
	id    EventID
	times int
}

// comparison compares what two members have settled. About the events of asked the other member asks a
// database.
type comparison struct {
	m            *Machine
	ours, theirs map[Incarnation]SettledBy
	asked        []Event
}

// first returns an event, if there is one, that one of the two has settled and the other has not, and
// that may stay so; and whether both have settled the same. An event of a writer that one of the two may
// have forgotten counts only where nothing else differs: then it is what makes the tables differ.
func (c *comparison) first() (first EventID, equal bool) {
	equal = true
	var forgotten EventID
	others := false
	for _, packed := range []map[Incarnation]SettledBy{c.ours, c.theirs} {
		for writer := range packed {
			sequence, differs := c.ours[writer].differs(c.theirs[writer])
			if !differs {
				continue
			}
			equal = false
			soonest := &first
			if c.isForgotten(writer) {
				soonest = &forgotten
			} else {
				others = true
			}
			id := EventID{writer, sequence}
			if c.stays(id) && (*soonest == EventID{} || c.isSooner(id, *soonest)) {
				*soonest = id
			}
		}
	}
	if !others {
		first = forgotten
	}
	return first, equal
}

// stays reports whether an event is settled at one of the two only, and no database is asked about it.
func (c *comparison) stays(id EventID) bool {
	if o := c.m.events.open[id]; o != nil && o.cause != nil {
		return false
	}
	return c.ours[id.Writer].has(id.Sequence) != c.theirs[id.Writer].has(id.Sequence) &&
		!slices.ContainsFunc(c.asked, func(e Event) bool { return e.ID == id })
}

// isForgotten reports whether one of the two may have forgotten a writer, which each does at its own time.
func (c *comparison) isForgotten(writer Incarnation) bool {
	_, here := c.ours[writer]
	_, there := c.theirs[writer]
	return here != there && !c.m.Listed(writer)
}

// isSooner orders events by how unlikely they are to be settled still: those of writers that are not alive
// come first, as what a live writer has just settled may be on its way.
func (c *comparison) isSooner(a, b EventID) bool {
	if live := c.m.members.isLive(a.Writer); live != c.m.members.isLive(b.Writer) {
		return !live
	}
	return compareIDs(a, b) < 0
}
