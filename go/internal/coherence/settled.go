package coherence

import (
	"maps"
	"slices"
)

// settledBy is which events of one writer are settled: those up to through, and those of above.
// Its memory does not grow with the number of events.
type settledBy struct {
	through uint64
	above   map[uint64]struct{}
	// skipped is up to which through has moved without all before it being settled, as above was
	// full. What is still open there is in events.open; of the rest nothing is known.
	skipped uint64
}

// isSettled tells whether an event is known to be settled.
func (m *Machine) isSettled(id EventID) bool {
	by := m.settled[id.Writer]
	if by == nil {
		return false
	}
	_, above := by.above[id.Sequence]
	return above || id.Sequence > by.skipped && id.Sequence <= by.through
}

func (m *Machine) markSettled(id EventID) {
	by := m.settled[id.Writer]
	if by == nil {
		by = &settledBy{above: make(map[uint64]struct{})}
		m.settled[id.Writer] = by
	}
	if id.Sequence <= by.through {
		return
	}
	by.above[id.Sequence] = struct{}{}
	if len(by.above) > maxAbove {
		by.skip()
	}
	for {
		if _, next := by.above[by.through+1]; !next {
			return
		}
		by.through++
		delete(by.above, by.through)
	}
}

// skip moves through up over the lower half of above.
func (by *settledBy) skip() {
	above := slices.Sorted(maps.Keys(by.above))
	for _, n := range above[:len(above)/2] {
		delete(by.above, n)
		by.through, by.skipped = n, n
	}
}

func (m *Machine) packSettled() map[Incarnation]SettledBy {
	packed := make(map[Incarnation]SettledBy, len(m.settled))
	for who, by := range m.settled {
		p := SettledBy{Through: by.through, Skipped: by.skipped}
		for n := range by.above {
			p.Above = append(p.Above, n)
		}
		slices.Sort(p.Above)
		packed[who] = p
	}
	return packed
}

func (s SettledBy) has(sequence uint64) bool {
	_, above := slices.BinarySearch(s.Above, sequence)
	return above || sequence <= s.Through
}

// differs returns the first event that is settled in one of the two only, if there is one. What was
// skipped has no part in it: it tells nothing of which events are settled.
func (s SettledBy) differs(t SettledBy) (sequence uint64, differs bool) {
	if s.Through != t.Through {
		return min(s.Through, t.Through) + 1, true
	}
	for i := range max(len(s.Above), len(t.Above)) {
		switch {
		case i >= len(s.Above):
			return t.Above[i], true
		case i >= len(t.Above):
			return s.Above[i], true
		case s.Above[i] != t.Above[i]:
			return min(s.Above[i], t.Above[i]), true
		}
	}
	return 0, false
}

func (s SettledBy) unpack() *settledBy {
	by := &settledBy{through: s.Through, skipped: s.Skipped, above: make(map[uint64]struct{}, len(s.Above))}
	for _, n := range s.Above {
		by.above[n] = struct{}{}
	}
	return by
}
