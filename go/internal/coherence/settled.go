package coherence

import (
	"maps"
	"slices"
)

// settled is which events of each writer are settled.
type settled map[Incarnation]*settledBy

// settledBy is which events of one writer are settled: those up to through, and those of above. Its
// memory does not grow with the number of events.
type settledBy struct {
	through uint64
	above   map[uint64]struct{}
	// skipped is up to which number through has moved without all before it being settled, as above was
	// full. Events there that are still open are in events.open; of the others nothing is known.
	skipped uint64
}

// has reports whether an event is known to be settled.
func (s settled) has(id EventID) bool {
	by := s[id.Writer]
	if by == nil {
		return false
	}
	_, above := by.above[id.Sequence]
	return above || id.Sequence > by.skipped && id.Sequence <= by.through
}

func (s settled) mark(id EventID) {
	by := s[id.Writer]
	if by == nil {
		by = &settledBy{above: make(map[uint64]struct{})}
		s[id.Writer] = by
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

// pack returns what is settled as a message holds it.
func (s settled) pack() map[Incarnation]SettledBy {
	packed := make(map[Incarnation]SettledBy, len(s))
	for writer, by := range s {
		packed[writer] = SettledBy{by.through, by.skipped, slices.Sorted(maps.Keys(by.above))}
	}
	return packed
}

func (s SettledBy) unpack() *settledBy {
	by := &settledBy{through: s.Through, skipped: s.Skipped, above: make(map[uint64]struct{}, len(s.Above))}
	for _, n := range s.Above {
		by.above[n] = struct{}{}
	}
	return by
}

func (s SettledBy) has(sequence uint64) bool {
	_, above := slices.BinarySearch(s.Above, sequence)
	return above || sequence <= s.Through
}

// differs returns the first event that is settled in one of the two only, if there is one. Skipped has no
// part in it: it says nothing of which events are settled.
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

// maxRecent bounds what is kept of recent events, each counted with its buckets.
const maxRecent = 1 << 14

// recent are the last settled events, for members that lack them (anti-entropy).
type recent struct {
	events []Event // oldest first
	weight int     // events and buckets
}

func (r *recent) add(e Event) {
	r.events = append(r.events, e)
	r.weight += 1 + len(e.Buckets)
	for r.weight > maxRecent {
		r.weight -= 1 + len(r.events[0].Buckets)
		r.events[0] = Event{}
		r.events = r.events[1:]
	}
}
