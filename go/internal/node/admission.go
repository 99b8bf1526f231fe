package node

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"guillotina_groupcache/internal/transport"
)

// maxStrangers bounds whom the log has told of; they are forgotten together then.
const maxStrangers = 1 << 10

// admission decides which processes of the members table are let in: all, or those whose
// addresses the configuration lists, also as names that stand for changing addresses.
// Sessions that exist are kept, whatever a name means later.
type admission struct {
	list    bool // false: everyone is let in
	names   []string
	log     func(level, text string)
	changed func() // called when other addresses are let in than before
	wake    chan struct{}

	mu      sync.Mutex
	fixed   map[string]bool
	found   map[string][]string // the last good answer for each name
	failing map[string]bool     // names
	told    map[string]bool     // strangers: whether the log has told of them
}

// newAdmission reads a list of addresses and "dns:host:port".
func newAdmission(list []string, log func(level, text string), changed func()) *admission {
	a := &admission{
		list: len(list) > 0, log: log, changed: changed, wake: make(chan struct{}, 1),
		fixed: map[string]bool{}, found: map[string][]string{}, failing: map[string]bool{}, told: map[string]bool{},
	}
	for _, entry := range list {
		if name, ok := strings.CutPrefix(entry, "dns:"); ok {
			a.names = append(a.names, name)
		} else {
			a.fixed[spelling(entry)] = true
		}
	}
	return a
}

// spelling is the one spelling of an address that "localhost" shares with what it means.
func spelling(address string) string {
	if port, ok := strings.CutPrefix(address, "localhost:"); ok {
		return "127.0.0.1:" + port
	}
	return address
}

// add lets an address in, the own one.
func (a *admission) add(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fixed[spelling(address)] = true
}

// admits tells whether the process at the address of a row is let in. A client, which has none, always
// is: it shows by the secret, or a certificate, that it belongs to the cluster.
func (a *admission) admits(address string) bool { return a.check(address, a.suspect) }

// letsIn is admits for a connection, whose other end says what it likes: that it is not let in the
// transport logs, as it does of all that it refuses.
func (a *admission) letsIn(address string) bool { return a.check(address, func(string) {}) }

// check tells whether an address is let in; refused is called with one that is not, under mu.
func (a *admission) check(address string, refused func(address string)) bool {
	if !a.list || address == "" {
		return true
	}
	address = spelling(address)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.knows(address) {
		return true
	}
	refused(address)
	a.wakeUp()
	return false
}

// wakeUp asks for the next resolution at once: a name may stand for a stranger by now.
func (a *admission) wakeUp() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// knows reports whether an address is listed, or was found for a name. The caller holds mu.
func (a *admission) knows(address string) bool {
	if a.fixed[address] {
		return true
	}
	for _, addresses := range a.found {
		if slices.Contains(addresses, address) {
			return true
		}
	}
	return false
}

// suspect notes a stranger. Where a name may stand for it by now, the log waits for the next
// resolution. The caller holds mu.
func (a *admission) suspect(address string) {
	if _, known := a.told[address]; !known {
		if len(a.told) >= maxStrangers {
			clear(a.told)
		}
		a.told[address] = false
		if len(a.names) == 0 {
			a.tell(address)
		}
	}
}

func (a *admission) tell(address string) {
	a.told[address] = true
	a.log("warning", fmt.Sprintf("the process at %s uses the same database and is not in groupcache.peers:"+
		" it is not let in, and reads from the database", address))
}

// admit is asked for every connection, when the other side has said who it is.
func (n *Node) admit(peer transport.Peer) error {
	if peer.Address != "" && peer.Address == n.address && peer.Incarnation != uint64(n.incarnation) {
		return fmt.Errorf("it has the same address as this process, %s", peer.Address)
	}
	if !n.admission.letsIn(peer.Address) {
		return fmt.Errorf("the process at %s is not in groupcache.peers", peer.Address)
	}
	return nil
}
