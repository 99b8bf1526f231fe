package coherence

import "fmt"

// Restart is for a panic inside the machine, after which what it was about to change may be half changed.
// The process serves nothing at once and joins again by a copy (R5). Acknowledged events stay, and commits go
// on meanwhile; an event of this process is given up if the caller was not given its number. Database queries that were
// under way are made again: an answer to an earlier one must not reach the machine any more.
func (m *Machine) Restart(now Time, reason string) {
	if m.join.phase == left {
		return
	}
	m.out.log(fmt.Sprintf("it serves nothing and joins again, after an error of its own: %s", reason))
	if m.cfg.Alone {
		m.table.bump(wordEpoch, m.cfg.nonce())
	} else {
		m.join.startOver(now)
	}
	m.publish()
	m.orphans.asked = nil
	m.members.restore()
	m.restoreEvents(now)
	if !m.cfg.Alone {
		m.view.underWay, m.view.wanted = false, false
		m.view.take()
	}
	m.clearReady(now)
}

// restoreEvents counts anew what is counted of events, and what is in doubt.
func (m *Machine) restoreEvents(now Time) {
	before := m.events
	m.events = newEvents(before.doubt.emptied())
	ev := &m.events
	ev.sequence, ev.settled, ev.recent, ev.counts = before.sequence, before.settled, before.recent, before.counts
	ev.doubt.allTouched++
	ev.backlog = before.backlog
	ev.backlog.usage = make(usages)
	for _, e := range ev.backlog.open {
		ev.backlog.usage.add(&e)
	}
	for _, o := range inOrder(before.open) {
		again := ev.add(o.since, o.event, o.own)
		again.bumped, again.hinted, again.before = o.bumped, o.hinted, o.before
	}
	ev.doubt.show()
	for _, o := range inOrder(ev.open) {
		switch {
		case o.own == nil || o.own.lost:
		case !o.own.given:
			ev.settle(o, m.join.hasCopy())
			m.enqueueAll(now, Entry{Event: o.event, Settled: true})
		default:
			// Also one that was cleared: the caller may not have got that action, and to get it twice is harmless.
			ev.uncleared = append(ev.uncleared, o)
		}
	}
}
