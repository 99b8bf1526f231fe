package mesh

import "guillotina_groupcache/internal/coherence"

// maxAnnouncements bounds the remembered events of one peer. A push comes right after its
// settlement, so its event is one of those whose COMMIT was under way a moment ago.
const maxAnnouncements = 1024

// Announcements says when each of a peer's last events was first announced here. The machine's lock
// guards it.
type Announcements struct {
	at    map[uint64]coherence.Time
	order []uint64 // a ring buffer once it is full
	next  int
}

// Add remembers an event; one that is sent again after a broken connection keeps its first time.
func (a *Announcements) Add(event uint64, at coherence.Time) {
	if _, known := a.at[event]; known {
		return
	}
	if a.at == nil {
		a.at = make(map[uint64]coherence.Time)
	}
	if len(a.order) < maxAnnouncements {
		a.order = append(a.order, event)
	} else {
		delete(a.at, a.order[a.next])
		a.order[a.next] = event
		a.next = (a.next + 1) % maxAnnouncements
	}
	a.at[event] = at
}

// Of returns when an event was announced; it is false for one that is not remembered.
func (a *Announcements) Of(event uint64) (at coherence.Time, known bool) {
	at, known = a.at[event]
	return at, known
}
