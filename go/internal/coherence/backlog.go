package coherence

// told is what a joiner heard of events before it had its copy. What was acknowledged is never
// forgotten (R5), and its memory is bounded all the same.
type told struct {
	open    map[EventID]Event // announced meanwhile, and not settled
	load    loads             // that of open
	settled []Event           // settled meanwhile
	buckets int               // that settled names
	// folded: there were too many to keep. Then the copy gets a random number added to its epoch, so
	// that no name of before is used again; an event that the copy shows as open ends as an orphan.
	folded bool
}

func newTold() told { return told{open: make(map[EventID]Event), load: make(loads)} }

func (t *told) announced(e Event) {
	if _, known := t.open[e.ID]; !known {
		t.open[e.ID] = e
		t.load.add(&e)
	}
}

func (t *told) ended(e Event) {
	if announced, known := t.open[e.ID]; known {
		t.load.remove(&announced)
		delete(t.open, e.ID)
	}
	if len(t.settled) == maxToldSettled || t.buckets+len(e.Buckets) > maxToldBuckets {
		t.settled, t.buckets, t.folded = nil, 0, true
	}
	t.settled = append(t.settled, e)
	t.buckets += len(e.Buckets)
}

// takeTold gives a copy that was just taken what this process was told meanwhile.
func (m *Machine) takeTold(now Time, t told) {
	for _, id := range sortedIDs(t.open) {
		m.openEvent(now, t.open[id])
	}
	for _, e := range t.settled {
		m.settleAsWriter(e)
	}
	if t.folded {
		m.allSeen++
		m.table.add(wordEpoch, m.even())
	}
}
