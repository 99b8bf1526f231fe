package coherence

import "slices"

// Notes of databases that this process may not look at: another member tells of them.

// toldNote is a note that another process told of, and when it did last.
type toldNote struct {
	write   *OutsideWrite
	at      Time
	applied bool // the table holds it, and no look has shown it
}

// toldOutside takes notes of databases that this process may not look at, from a member whose row says
// that it has applied them. They are kept for a copy that is taken later as well: its row may seem to
// say that they are applied, where the database has executed late what was said of the versions before.
func (m *Machine) toldOutside(now Time, from *member, message *Message) {
	if !from.isIn() {
		return
	}
	for i := range message.Entries {
		e := &message.Entries[i].Event
		id := OutsideID(e.ID.Sequence)
		if !slices.Contains(from.row.Applied, id) {
			continue // no view shows it yet, or it is invented
		}
		told := m.toldNotes[id]
		if told == nil {
			told = &toldNote{write: m.keepTold(e)}
			m.toldNotes[id] = told
		}
		told.at = now
		if m.hasState() {
			m.applyTold(told)
		}
	}
}

// keepTold returns a note that was told of; beyond what is kept of all such notes it is over everything.
func (m *Machine) keepTold(e *Event) *OutsideWrite {
	w := &OutsideWrite{OutsideID(e.ID.Sequence), e.Nonce, e.All, e.Buckets}
	if m.toldBuckets+len(w.Buckets) > maxToldBuckets {
		w.All, w.Buckets = true, nil
	}
	m.toldBuckets += len(w.Buckets)
	return w
}

// applyTold applies a note that another process has told of, if the table does not hold it.
func (m *Machine) applyTold(told *toldNote) {
	if _, known := m.applied[told.write.ID]; !known {
		told.applied = true
	}
	m.applyNote(told.write, told.at)
}

// takeApplied is for a copy, which holds these notes. Of some its sender knows only what it was told.
func (m *Machine) takeApplied(now Time, s *Snapshot) {
	m.applied = make(map[OutsideID]Time, len(s.Applied))
	for _, id := range s.Applied {
		m.applied[id] = now
	}
	for _, told := range m.toldNotes {
		told.applied = false
	}
	for i := range s.Relayed {
		e := &s.Relayed[i]
		if told := m.toldNotes[OutsideID(e.ID.Sequence)]; told != nil {
			m.toldBuckets -= len(told.write.Buckets)
		}
		m.toldNotes[OutsideID(e.ID.Sequence)] = &toldNote{m.keepTold(e), now, true}
	}
}
