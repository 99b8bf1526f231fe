package coherence

import (
	"maps"
	"slices"
	"time"
)

// writers is what is kept of processes that announce events. Some of them have no row: those that have
// gone, and those whose row no view has shown yet. Commands come and go, and every process that has the
// secret can be a new writer at any time, so what is kept of them is bounded.
type writers struct {
	heard   map[Incarnation]uint64 // number of the last entry that was taken of a writer's log
	rowless map[Incarnation]Time   // writers without a row of which something is kept, and since when
}

// forgetAfter is how long after its row has gone a writer is forgotten. Nobody sends its events any more
// by then, and a transaction of a database that nobody here serves is over.
const forgetAfter = 10 * time.Minute

// forgetWriters drops what is kept of writers whose row has been gone for long.
func (m *Machine) forgetWriters(now Time) {
	inDoubt := m.events.writersInDoubt()
	for _, writer := range m.knownWriters() {
		if _, stays := inDoubt[writer]; stays || m.Listed(writer) || writer == m.cfg.Incarnation {
			delete(m.writers.rowless, writer)
			continue
		}
		since, known := m.writers.rowless[writer]
		if !known {
			since = now
			m.writers.rowless[writer] = now
		}
		if now >= since.Add(forgetAfter) {
			m.forgetWriter(writer)
		}
	}
}

// makeRoomFor makes room for what is kept of a writer without a row: beyond the bound the writer is
// forgotten whose row has been gone for the longest time.
func (m *Machine) makeRoomFor(now Time, writer Incarnation) error {
	if _, known := m.writers.heard[writer]; known || m.Listed(writer) {
		return nil
	}
	rowless := m.writers.rowless
	if len(rowless) >= maxWriters {
		oldest, found := Incarnation(0), false
		inDoubt := m.events.writersInDoubt()
		for other, since := range rowless {
			if _, stays := inDoubt[other]; stays {
				continue
			}
			if !found || since < rowless[oldest] || since == rowless[oldest] && other < oldest {
				oldest, found = other, true
			}
		}
		if !found {
			return violation("%d writers without a row have events open, at most that many are allowed", maxWriters)
		}
		m.forgetWriter(oldest)
	}
	rowless[writer] = now
	return nil
}

func (m *Machine) forgetWriter(writer Incarnation) {
	for id, o := range m.events.open {
		if id.Writer == writer {
			m.events.close(o)
		}
	}
	delete(m.events.settled, writer)
	delete(m.writers.heard, writer)
	delete(m.writers.rowless, writer)
}

// knownWriters returns the writers of which anything is kept.
func (m *Machine) knownWriters() []Incarnation {
	known := slices.AppendSeq(slices.Collect(maps.Keys(m.writers.heard)), maps.Keys(m.events.settled))
	slices.Sort(known)
	return slices.Compact(known)
}
