package coherence

import "slices"

// How a joiner finds a member to copy from, and takes the copy (R5).

func (j *join) beginCopy(now Time) {
	j.phase, j.tries, j.copyRequests = copying, 0, make(map[Incarnation]struct{})
	j.tryCopy(now)
}

// tryCopy asks a serving member for a copy, or, where there is none, asks to be elected.
func (j *join) tryCopy(now Time) {
	if !j.view.isFresh(now) {
		j.view.take()
		return
	}
	j.retryAt = now.Add(retry)
	if now <= j.view.lastDeadline || j.members.refusing() != nil {
		return // no copy would be taken yet, see copyReceived, or none would be given
	}
	j.tries++
	source, boots := j.sources()
	if source != nil {
		j.copyRequests[source.row.Incarnation] = struct{}{}
		j.out.send(source.row.Incarnation, &Message{Kind: CopyRequest, Attempt: j.attempt})
		if j.tries > patience {
			j.view.markOutOfReach(now, source)
		}
		return
	}
	if j.tries > patience {
		for _, p := range boots {
			// It may have to wait long for open transactions, and is marked out only if it has died.
			j.out.act(Action{Kind: MarkOut, To: p.row.Incarnation, Text: heartbeatOverdue, IfOverdue: !p.ended})
		}
	}
	j.out.act(Action{Kind: Elect})
}

// sources returns a member that is in, chosen at random unless one is preferred, and the members that are
// elected.
func (j *join) sources() (source *member, boots []*member) {
	var in []*member
	for _, p := range j.members.order {
		switch p.state() {
		case In:
			in = append(in, p)
		case Boot:
			boots = append(boots, p)
		}
	}
	if p := j.members.byID[j.preferred]; p != nil && slices.Contains(in, p) && j.tries < patience {
		return p, boots
	}
	if len(in) > 0 {
		source = in[j.cfg.Random()%uint64(len(in))]
	}
	return source, boots
}

// snapshot returns what a joiner copies from this process.
func (m *Machine) snapshot() *Snapshot {
	s := &Snapshot{
		Epoch:   m.table.settledWord(wordEpoch),
		Buckets: m.table.used(),
		Settled: m.events.settled.pack(),
		Recent:  slices.Clone(m.events.recent.events),
		Applied: m.outside.packApplied(),
		Relayed: m.outside.packRelayed(),
	}
	for _, o := range inOrder(m.events.open) {
		if o.bumped {
			s.Bumped = append(s.Bumped, o.event)
		} else {
			s.Open = append(s.Open, o.event)
		}
	}
	return s
}

// giveCopy gives a member a copy. A joiner asks again when none has come for a while. A member that asks
// more often would have this process gather all that it knows again and again.
func (m *Machine) giveCopy(now Time, p *member, attempt uint64) {
	if m.Serves(now) && (p.copiedAt == 0 || now >= p.copiedAt.Add(retry/2)) {
		p.copiedAt = now
		m.out.send(p.row.Incarnation, &Message{Kind: Copy, Attempt: attempt, State: m.snapshot()})
	}
}

// copyReceived takes a copy, but not before the last deadline that readers of the table were shown has
// passed: a reader that was stopped between loading the deadline and loading the version would otherwise
// take a half-written table for versions.
func (m *Machine) copyReceived(now Time, message *Message) {
	if m.join.phase == copying && message.Attempt == m.join.attempt && message.State != nil && now > m.view.lastDeadline {
		m.enter(now, message.State)
	}
}

// enter replaces epoch, table and events, adds what this process has acknowledged and what it has heard
// meanwhile, and asks to be admitted.
func (m *Machine) enter(now Time, s *Snapshot) {
	before := m.events
	m.join.phase = entering
	m.events = newEvents(before.doubt.emptied())
	m.events.counts, m.events.sequence = before.counts, before.sequence
	m.table.reset(s.Epoch&^1, s.Buckets)
	for writer, by := range s.Settled {
		m.events.settled[writer] = by.unpack()
	}
	for _, e := range s.Recent {
		m.events.recent.add(e)
	}
	m.events.takeOpen(now, s, before.open)
	for _, o := range before.uncleared {
		m.events.uncleared = append(m.events.uncleared, m.events.open[o.event.ID])
	}
	m.outside.takeCopy(now, s)
	m.outside.applyLists()
	// It is not known any more whether other events have touched the buckets of this process's open events (R8).
	m.events.doubt.allTouched++
	m.events.takeBacklog(now, before.backlog)
	if before.backlog.folded {
		m.events.doubt.bump(true, nil, m.cfg.nonce())
	}
	m.out.act(Action{Kind: Enter})
}

// takeOpen takes the open events of a copy, and those that were open here before. An event of this process is open
// whatever the copy says of it: the caller that has announced it settles it.
func (ev *events) takeOpen(now Time, s *Snapshot, before map[EventID]*openEvent) {
	bumped := make(map[EventID]bool, len(s.Bumped))
	for _, e := range s.Bumped {
		bumped[e.ID] = true
	}
	for _, open := range [][]Event{s.Open, s.Bumped} {
		for _, e := range open {
			if ev.open[e.ID] == nil && (before[e.ID] == nil || before[e.ID].own == nil) {
				ev.add(now, e, nil).bumped = bumped[e.ID]
			}
		}
	}
	for _, o := range inOrder(before) {
		if o.own != nil {
			ev.add(now, o.event, o.own).bumped = bumped[o.event.ID]
		} else {
			ev.addUnknown(now, o.event)
		}
	}
}
