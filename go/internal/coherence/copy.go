package coherence

import (
	"cmp"
	"slices"
)

// snapshot is what a joiner copies from this process.
func (m *Machine) snapshot() *Snapshot {
	s := &Snapshot{
		Epoch:   m.table.settledWord(wordEpoch),
		Buckets: m.table.used(),
		Settled: m.packSettled(),
		Recent:  slices.Clone(m.recent),
		Applied: m.packApplied(),
	}
	for _, o := range inOrder(m.open) {
		if o.renamed {
			s.Bumped = append(s.Bumped, o.event)
		} else {
			s.Open = append(s.Open, o.event)
		}
	}
	for _, told := range m.toldNotes {
		if told.applied {
			s.Relayed = append(s.Relayed, told.write.event())
		}
	}
	slices.SortFunc(s.Relayed, func(a, b Event) int { return cmp.Compare(a.ID.Sequence, b.ID.Sequence) })
	return s
}

// copyFor gives a member a copy. A joiner asks again when none has come for a while; whoever asks more
// often would have this process gather all that it knows again and again.
func (m *Machine) copyFor(now Time, p *member, attempt uint64) {
	if m.Serves(now) && (p.copied == 0 || now >= p.copied.Add(retry/2)) {
		p.copied = now
		m.send(p.row.Incarnation, &Message{Kind: Copy, Attempt: attempt, State: m.snapshot()})
	}
}

// copied takes the state of one in standing.
//
// Nothing is taken before the last deadline that readers of the table were shown has passed:
// one that was stopped between loading the deadline and loading the version would else take
// a half written table for versions.
func (m *Machine) copied(now Time, message *Message) {
	if m.phase != copying || message.Attempt != m.attempt || message.State == nil || now <= m.served {
		return
	}
	m.enter(now, message.State)
}

// enter replaces epoch, table and events, adds what this process has acknowledged and what it
// was told meanwhile, and asks to be let in.
func (m *Machine) enter(now Time, s *Snapshot) {
	before := m.events
	m.phase = entering
	m.events = newEvents(before.again())
	m.counts, m.sequence = before.counts, before.sequence
	m.table.reset(s.Epoch&^1, s.Buckets)
	for who, by := range s.Settled {
		m.settled[who] = by.unpack()
	}
	m.recent, m.weight = nil, 0
	for _, e := range s.Recent {
		m.remember(e)
	}
	m.takeOpen(now, s, before.open)
	for _, o := range before.waiting {
		m.waiting = append(m.waiting, m.open[o.event.ID])
	}
	m.takeApplied(now, s)
	m.applyLists()
	// Who touched the buckets of the own open events before is not known any more (R8).
	m.allSeen++
	m.takeTold(now, before.told)
	m.act(Action{Kind: Enter})
}

// takeOpen takes the open events of a copy, and those that were open here before. An own one is open
// whatever the copy says of it: whoever has announced it settles it.
func (m *Machine) takeOpen(now Time, s *Snapshot, before map[EventID]*openEvent) {
	renamed := make(map[EventID]bool, len(s.Bumped))
	for _, e := range s.Bumped {
		renamed[e.ID] = true
	}
	for _, events := range [][]Event{s.Open, s.Bumped} {
		for _, e := range events {
			if m.open[e.ID] == nil && (before[e.ID] == nil || before[e.ID].own == nil) {
				m.addOpen(now, e, nil).renamed = renamed[e.ID]
			}
		}
	}
	for _, o := range inOrder(before) {
		if o.own != nil {
			m.addOpen(now, o.event, o.own).renamed = renamed[o.event.ID]
		} else {
			m.openEvent(now, o.event)
		}
	}
}
