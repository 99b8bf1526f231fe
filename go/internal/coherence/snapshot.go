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
			s.Renamed = append(s.Renamed, o.event)
		} else {
			s.Open = append(s.Open, o.event)
		}
	}
	for _, told := range m.toldNotes {
		if told.applied {
			s.Told = append(s.Told, told.write.event())
		}
	}
	slices.SortFunc(s.Told, func(a, b Event) int { return cmp.Compare(a.ID.Sequence, b.ID.Sequence) })
	return s
}
