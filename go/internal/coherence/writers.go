package coherence

import "time"

// What is kept of writers that have no row: of those that have gone, and of those whose row no view
// has shown yet. Commands come and go, and whoever has the secret can be a new one at any time.

// forgetAfter is how long after its row has gone a writer is forgotten. Nobody tells of its events
// by then, and a transaction of a database that nobody here serves is over.
const forgetAfter = 10 * time.Minute

// forgetWriters drops what is kept of writers whose row has been gone for long.
func (m *Machine) forgetWriters(now Time) {
	inDoubt := m.writersInDoubt()
	for _, who := range m.writers() {
		if _, stays := inDoubt[who]; stays || m.Listed(who) || who == m.cfg.Incarnation {
			delete(m.rowless, who)
			continue
		}
		since, known := m.rowless[who]
		if !known {
			since = now
			m.rowless[who] = now
		}
		if now >= since.Add(forgetAfter) {
			m.forgetWriter(who)
		}
	}
}

// makeRoomFor makes room for what is kept of a writer without a row, if there is none.
func (m *Machine) makeRoomFor(now Time, who Incarnation) error {
	if _, known := m.heard[who]; known || m.Listed(who) {
		return nil
	}
	if len(m.rowless) >= maxWriters {
		oldest, found := Incarnation(0), false
		inDoubt := m.writersInDoubt()
		for other, since := range m.rowless {
			if _, stays := inDoubt[other]; stays {
				continue
			}
			if !found || since < m.rowless[oldest] || since == m.rowless[oldest] && other < oldest {
				oldest, found = other, true
			}
		}
		if !found {
			return violation("%d writers without a row have events open, at most that many are allowed", maxWriters)
		}
		m.forgetWriter(oldest)
	}
	m.rowless[who] = now
	return nil
}

func (m *Machine) forgetWriter(who Incarnation) {
	for id, o := range m.open {
		if id.Writer == who {
			m.close(o)
		}
	}
	delete(m.settled, who)
	delete(m.heard, who)
	delete(m.rowless, who)
}

// writers returns of whom anything is kept.
func (m *Machine) writers() []Incarnation {
	var who []Incarnation
	for w := range m.heard {
		who = append(who, w)
	}
	for w := range m.settled {
		if _, known := m.heard[w]; !known {
			who = append(who, w)
		}
	}
	return who
}

// writersInDoubt returns those of whom an event puts something in doubt here, or will do so after a copy.
func (m *Machine) writersInDoubt() map[Incarnation]struct{} {
	who := make(map[Incarnation]struct{})
	for id, o := range m.open {
		if o.cause != nil {
			who[id.Writer] = struct{}{}
		}
	}
	for id := range m.told.open {
		who[id.Writer] = struct{}{}
	}
	return who
}
