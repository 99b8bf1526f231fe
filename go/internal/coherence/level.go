package coherence

import (
	"maps"
	"slices"
)

// Two processes that began with the same copy and have settled the same events hold the same
// table whatever the order, and so share names. An event that was announced and then given up
// before every member heard of it can leave them different, and so can an election that
// overlaps with the last step of a joiner. That is never wrong, but costs the sharing. So each
// tells another one now and then what it has settled and is told what it lacks; of two that
// lack nothing and still differ, the younger copies anew. What was written from outside (R14)
// each finds by itself: as long as two have not applied the same notes they may differ.

// maxRecent bounds what is kept to level others: settled events, each counted with its buckets.
const maxRecent = 1 << 14

// levelling is what is kept for that.
type levelling struct {
	recent []Event // the last settled events, oldest first
	weight int     // events and buckets in recent
	level  Time    // when to compare next
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

// compare tells a random member in standing what is settled here.
func (m *Machine) compare(now Time) {
	if m.phase != standing || now < m.level {
		return
	}
	m.level = now.Add(m.cfg.Lease)
	if other, _ := m.sources(); other != nil {
		m.sendCompare(other.row.Incarnation, 1)
	}
}

func (m *Machine) sendCompare(to Incarnation, attempt uint64) {
	m.send(to, &Message{Kind: Compare, Attempt: attempt, Sequence: m.table.digest,
		State: &Snapshot{Settled: m.packSettled(), Applied: m.packApplied()}})
}

// compared answers with what the other one lacks, and, when it was the one to begin, with
// what is settled here.
func (m *Machine) compared(from Incarnation, message *Message) {
	if m.phase != standing || message.State == nil {
		return
	}
	theirs, ours := message.State.Settled, m.packSettled()
	lacksNothing := maps.EqualFunc(ours, theirs, SettledBy.equal) && slices.Equal(m.packApplied(), message.State.Applied)
	if message.Sequence != m.table.digest && m.yieldsTo(from) && lacksNothing {
		m.note("its versions differ from another member's: joins again")
		m.phase, m.prefer = fresh, from
		m.publish()
		return
	}
	var lacking []Entry
	for _, e := range m.recent {
		if !theirs[e.ID.Writer].has(e.ID.Sequence) {
			lacking = append(lacking, Entry{Event: e, Settled: true})
		}
	}
	for part := range slices.Chunk(lacking, entriesInMessage) {
		m.send(from, &Message{Kind: Level, Entries: part})
	}
	if message.Attempt == 1 {
		m.sendCompare(from, 0)
	}
}

// yieldsTo tells which of two that differ copies anew: the client, since clients do not reach
// each other and could not pass it on, else the younger.
func (m *Machine) yieldsTo(who Incarnation) bool {
	client, other := m.cfg.Address == "", m.members[who].row.Address == ""
	if client != other {
		return client
	}
	return who < m.cfg.Incarnation
}

func (m *Machine) levelled(message *Message) {
	for _, e := range message.Entries {
		if e.Settled && m.phase == standing {
			m.settle(e.Event)
		}
	}
}
