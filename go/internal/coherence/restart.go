package coherence

import (
	"fmt"
	"slices"
)

// Restart is for a panic under the machine, after which what it was about to change may be half
// changed. The process serves nothing at once and joins again by a copy (R5). What was acknowledged
// stays, and commits go on meanwhile; an own event whose number nobody was given is given up. What
// was asked before is asked again: an answer to it must not reach the machine any more.
func (m *Machine) Restart(now Time, because string) {
	if m.phase == left {
		return
	}
	m.note(fmt.Sprintf("serves nothing and joins again, after an error of its own: %s", because))
	if m.cfg.Alone {
		m.table.add(wordEpoch, m.even())
	} else {
		m.startOver(now)
	}
	m.publish()
	m.askedOrphans = nil
	m.restoreMembers()
	m.restoreEvents(now)
	if !m.cfg.Alone {
		m.reading, m.again = false, false
		m.read()
	}
	m.tryAll(now)
}

func (m *Machine) restoreMembers() {
	m.order = m.order[:0]
	for _, p := range m.members {
		m.order = append(m.order, p)
	}
	slices.SortFunc(m.order, byIncarnation)
}

// restoreEvents counts anew what is counted of events, and what is in doubt.
func (m *Machine) restoreEvents(now Time) {
	before := m.events
	m.events = newEvents(before.again())
	m.sequence, m.allSeen, m.settled, m.counts = before.sequence, before.allSeen+1, before.settled, before.counts
	m.told = before.told
	m.told.load = make(loads)
	for _, e := range before.told.open {
		m.told.load.add(&e)
	}
	for _, o := range inOrder(before.open) {
		again := m.addOpen(o.since, o.event, o.own)
		again.renamed, again.hinted, again.before = o.renamed, o.hinted, o.before
	}
	m.showDoubt()
	for _, o := range inOrder(m.open) {
		switch {
		case o.own == nil || o.own.lost:
		case !o.own.given:
			m.settle(o)
			m.tellAll(now, Entry{Event: o.event, Settled: true})
		default:
			// Also one that has passed: nobody may have been told, and to be told twice is harmless.
			m.waiting = append(m.waiting, o)
		}
	}
}

// showDoubt marks in the table what is in doubt, and nothing else.
func (m *Machine) showDoubt() {
	m.table.setDoubt(wordEpoch, m.allOpen > 0)
	for b := range m.table.Buckets() {
		if _, inDoubt := m.doubt[b]; inDoubt || m.table.isOdd(TableHeader+int(b)) {
			m.table.setDoubt(TableHeader+int(b), inDoubt)
		}
	}
}
