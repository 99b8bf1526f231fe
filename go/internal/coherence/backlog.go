package coherence

import (
	"maps"
	"slices"
)

// backlog is what a joiner has heard of events before it has its copy. An
// acknowledged event is never forgotten (R5), and still the memory is bounded.
type backlog struct {
	open    map[EventID]Event // announced meanwhile, and not settled
	usage   usages            // that of open
	settled []Event           // settled meanwhile
	buckets int               // that settled names
	// folded: there were too many to keep. Then the copy gets a random number added to its epoch, so
	// that no versioned key of before is used again. An event that the copy shows as open ends as an orphan.
	folded bool
}

func newBacklog() backlog { return backlog{open: make(map[EventID]Event), usage: make(usages)} }

func (b *backlog) announce(e Event) {
	if _, known := b.open[e.ID]; !known {
		b.open[e.ID] = e
		b.usage.add(&e)
	}
}

func (b *backlog) settle(e Event) {
	if announced, known := b.open[e.ID]; known {
		b.usage.remove(&announced)
		delete(b.open, e.ID)
	}
	if len(b.settled) == maxBacklogEvents || b.buckets+len(e.Buckets) > maxBacklogBuckets {
		b.settled, b.buckets, b.folded = nil, 0, true
	}
	b.settled = append(b.settled, e)
	b.buckets += len(e.Buckets)
}

// takeBacklog adds to a copy that was just taken what this process has heard meanwhile.
func (ev *events) takeBacklog(now Time, b backlog) {
	for _, id := range slices.SortedFunc(maps.Keys(b.open), compareIDs) {
		ev.addUnknown(now, b.open[id])
	}
	for _, e := range b.settled {
		ev.settleByWriter(e, true)
	}
}
