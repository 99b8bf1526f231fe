package mesh

import (
	"sync/atomic"

	"guillotina_groupcache/internal/coherence"
)

// unlistedLeases is how many leases a process may have a session here without a row in the members
// table. A process that joins has its row before most others have seen it.
const unlistedLeases = 4

// listedRows is the set of processes that the last view has shown, for the transport, which cannot
// wait for the machine's lock.
type listedRows struct {
	set   atomic.Pointer[map[uint64]bool]
	fresh atomic.Bool // there was a view since the sessions were last compared with it
}

func (l *listedRows) has(incarnation uint64) bool {
	set := l.set.Load()
	return set != nil && (*set)[incarnation]
}

// ViewTaken remembers which processes a view has shown. The caller holds the lock.
func (m *Mesh) ViewTaken(machine *coherence.Machine) {
	set := make(map[uint64]bool)
	for _, row := range machine.Rows() {
		if machine.Listed(row.Incarnation) {
			set[uint64(row.Incarnation)] = true
		}
	}
	m.listed.set.Store(&set)
	m.listed.fresh.Store(true)
}
