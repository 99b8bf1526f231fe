package coherence

import "slices"

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
		s.Open = append(s.Open, o.event)
	}
	return s
}

func (m *Machine) packSettled() map[Incarnation]SettledBy {
	packed := make(map[Incarnation]SettledBy, len(m.settled))
	for who, by := range m.settled {
		p := SettledBy{Through: by.through}
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

func (s SettledBy) equal(t SettledBy) bool {
	return s.Through == t.Through && slices.Equal(s.Above, t.Above)
}

func (s SettledBy) unpack() *settledBy {
	by := &settledBy{through: s.Through, above: make(map[uint64]struct{}, len(s.Above))}
	for _, n := range s.Above {
		by.above[n] = struct{}{}
	}
	return by
}
