package coherence

import "slices"

// R3: COMMIT may be sent when the reading is fresh and shows the own row, and every member of
// it has acknowledged the announcement, or was seen out for a lease, or is proved to have
// ended; where it lacks rows, a lease after that was seen. Who has become a member meanwhile is
// announced to as well.

// tryAll looks again at every own event that waits.
func (m *Machine) tryAll(now Time) {
	m.waiting = slices.DeleteFunc(m.waiting, func(o *openEvent) bool {
		if !m.cfg.Alone && !m.mayPass(now, o) {
			return false
		}
		m.counts.Cleared++
		m.act(Action{Kind: Cleared, Event: o.event.ID})
		return true
	})
}

func (m *Machine) mayPass(now Time, o *openEvent) bool {
	// Who has left is not asked for its word by a joiner, so it must pass nothing more.
	pass := m.listed && m.phase != left && !m.mayLack(now)
	if !m.isFresh(now) {
		m.read()
		pass = false
	}
	for _, p := range m.order {
		switch {
		case p.gone:
		case p.row.State == Out:
			// Its own reading shows the mark by then, or has run out.
			if now < p.outSince.Add(m.outlastLease()) {
				pass = false
			}
		default:
			number, told := o.own.needs[p.row.Incarnation]
			if !told {
				number = m.tell(now, p, Entry{Event: o.event})
				o.own.needs[p.row.Incarnation] = number
			}
			if p.log.through < number {
				pass = false
			}
		}
	}
	return pass
}

// hurry marks out who has not acknowledged an announcement in time, and looks again at what
// waits for time to pass.
//
// A process that was itself stopped, or starved, blames nobody: the acknowledgements may lie
// in its sockets.
func (m *Machine) hurry(now Time) {
	starved := now > m.ticked.Add(m.cfg.AckTimeout)
	m.ticked = now
	for _, o := range m.waiting {
		if !starved && now < o.own.slow {
			continue
		}
		o.own.slow = now.Add(m.cfg.AckTimeout)
		if starved {
			continue
		}
		for _, p := range m.order {
			number, told := o.own.needs[p.row.Incarnation]
			if told && !p.gone && p.row.State != Out && p.log.through < number {
				m.markOut(now, p, "it does not acknowledge")
			}
		}
	}
	m.tryAll(now)
}
