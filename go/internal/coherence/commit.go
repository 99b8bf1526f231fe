package coherence

import "slices"

// R3: COMMIT may be sent when the view is fresh and shows this process's row, and every member of it has
// acknowledged the announcement, or has been out for a lease, or is proved to have ended; where the view
// lacks rows, a lease after that was seen. Processes that have become members meanwhile are announced to
// as well.

// clearReady clears the events of this process that need not wait any more.
func (m *Machine) clearReady(now Time) {
	ev := &m.events
	ev.uncleared = slices.DeleteFunc(ev.uncleared, func(o *openEvent) bool {
		if !m.cfg.Alone && !m.mayClear(now, o) {
			return false
		}
		ev.counts.Cleared++
		m.out.act(Action{Kind: Cleared, Event: o.event.ID})
		return true
	})
}

func (m *Machine) mayClear(now Time, o *openEvent) bool {
	// A joiner does not ask a process that has left for an acknowledgement, so that must clear nothing more.
	ready := m.view.listed && m.join.phase != left && !m.view.mayLack(now)
	if !m.view.isFresh(now) {
		m.view.take()
		ready = false
	}
	for _, p := range m.members.order {
		switch {
		case p.ended:
		case p.row.State == Out:
			// Its own view shows the mark by the end of a lease, or has run out.
			if now < p.outSince.Add(m.cfg.outlastLease()) {
				ready = false
			}
		default:
			number, announced := o.own.needs[p.row.Incarnation]
			if !announced {
				number = m.enqueue(now, p, Entry{Event: o.event})
				o.own.needs[p.row.Incarnation] = number
			}
			if p.log.through < number {
				ready = false
			}
		}
	}
	return ready
}

// markOutSlow marks out the members that have not acknowledged an announcement in time, and clears what
// waits for time to pass.
//
// A process that was itself stopped, or got no CPU, marks nobody out: the acknowledgements may lie in its
// sockets.
func (m *Machine) markOutSlow(now Time) {
	stood := now > m.ticked.Add(m.cfg.AckTimeout)
	m.ticked = now
	for _, o := range m.events.uncleared {
		if !stood && now < o.own.ackBy {
			continue
		}
		o.own.ackBy = now.Add(m.cfg.AckTimeout)
		if stood {
			continue
		}
		for _, p := range m.members.order {
			number, announced := o.own.needs[p.row.Incarnation]
			if announced && !p.ended && p.row.State != Out && p.log.through < number {
				m.view.markOut(now, p, "it does not acknowledge")
			}
		}
	}
	m.clearReady(now)
}
