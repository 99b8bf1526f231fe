package coherence

import (
	"cmp"
	"maps"
	"slices"
)

// R6: an open event whose writer is silent is an orphan. Its transaction had written before it
// was announced, so when the writing transactions that were open after its arrival have
// ended, it is over, either way. No judgement about who is dead is needed.

// orphans is which databases were asked and when to ask again.
type orphans struct {
	askedOrphans map[string]Time // when; one question at a time to a database
	lookAgain    Time
}

func (m *Machine) watchOrphans(now Time) {
	if m.phase != standing || now < m.lookAgain {
		return
	}
	m.lookAgain = now.Add(retry)
	if m.askedOrphans == nil {
		m.askedOrphans = make(map[string]Time)
	}
	for _, o := range inOrder(m.open) {
		database := o.event.Database
		if _, asked := m.askedOrphans[database]; !asked && m.isOrphan(now, o) {
			m.askedOrphans[database] = now
			m.act(Action{Kind: OpenTransactions, Database: database})
		}
	}
}

func (m *Machine) isOrphan(now Time, o *openEvent) bool {
	if o.own != nil {
		return o.own.lost
	}
	return now >= o.since.Add(m.cfg.OrphanAfter)
}

// OpenTransactions answers [OpenTransactions]: which writing transactions are open in the
// database, or in all of them when it is "", by names that are not used again.
func (m *Machine) OpenTransactions(now Time, database string, open []string, err error) {
	if database == "" && m.phase == booting {
		if err == nil {
			m.boot(now, open)
		}
		return
	}
	asked := m.askedOrphans[database]
	delete(m.askedOrphans, database)
	if err != nil || m.phase != standing {
		return
	}
	for _, o := range inOrder(m.open) {
		if o.event.Database != database || !m.isOrphan(now, o) || o.since > asked {
			continue // what arrived after the question may not be in the answer
		}
		if !o.asked {
			o.asked, o.before = true, open
		}
		if !intersects(o.before, open) {
			m.counts.Orphans++
			m.settle(o.event)
			m.tellAll(now, Entry{Event: o.event, Settled: true})
		}
	}
}

// inOrder returns open events in a fixed order.
func inOrder(open map[EventID]*openEvent) []*openEvent {
	return slices.SortedFunc(maps.Values(open), func(a, b *openEvent) int {
		return cmp.Or(cmp.Compare(a.event.ID.Writer, b.event.ID.Writer),
			cmp.Compare(a.event.ID.Sequence, b.event.ID.Sequence))
	})
}

func intersects(a, b []string) bool {
	for _, x := range a {
		if slices.Contains(b, x) {
			return true
		}
	}
	return false
}
