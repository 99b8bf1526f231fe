package node

import (
	"sync/atomic"

	"guillotina_groupcache/internal/coherence"
)

// unlistedFor is for how many leases a process may have a session here without a row in the members
// table. One that joins has its row before most others have seen it.
const unlistedFor = 4

// listedRows is which processes the last view has shown, for the transport, which cannot wait for
// the machine.
type listedRows struct {
	set   atomic.Pointer[map[uint64]struct{}]
	fresh atomic.Bool // there was a view since the last look at the sessions
}

func (l *listedRows) has(incarnation uint64) bool {
	set := l.set.Load()
	if set == nil {
		return false
	}
	_, ok := (*set)[incarnation]
	return ok
}

// note takes what a view has shown. The caller holds mu.
func (l *listedRows) note(m *coherence.Machine) {
	set := make(map[uint64]struct{})
	for _, row := range m.Rows() {
		if m.Listed(row.Incarnation) {
			set[uint64(row.Incarnation)] = struct{}{}
		}
	}
	l.set.Store(&set)
	l.fresh.Store(true)
}

// closeUnlisted closes the sessions of those who do not get a row, after each view.
func (n *Node) closeUnlisted() {
	if n.transport != nil && n.listed.fresh.Swap(false) {
		n.transport.CloseUnlisted(unlistedFor * seconds(n.cfg.Lease))
	}
}
