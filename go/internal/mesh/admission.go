package mesh

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"guillotina_groupcache/internal/transport"
)

// maxRejected bounds the rejected addresses that are remembered so that the log names each one once;
// then all are forgotten together.
const maxRejected = 1 << 10

// admission decides which processes of the members table are admitted: all, or those whose addresses
// the configuration lists, also as DNS names that stand for changing addresses. Existing sessions are
// kept, whatever a DNS name means later. It is safe for concurrent use.
type admission struct {
	list     bool     // false: every process is admitted
	dnsNames []string // "host:port"
	log      func(level, text string)
	changed  func() // called when other addresses are admitted than before
	wake     chan struct{}

	mu       sync.Mutex
	fixed    map[string]bool
	found    map[string][]string // the last good answer for each DNS name
	failing  map[string]bool     // DNS names that could not be resolved
	rejected map[string]bool     // addresses: whether the log has named it
}

// newAdmission reads a list of addresses and "dns:host:port".
func newAdmission(list []string, log func(level, text string), changed func()) *admission {
	a := &admission{
		list: len(list) > 0, log: log, changed: changed, wake: make(chan struct{}, 1),
		fixed: map[string]bool{}, found: map[string][]string{}, failing: map[string]bool{}, rejected: map[string]bool{},
	}
	for _, entry := range list {
		if name, ok := strings.CutPrefix(entry, "dns:"); ok {
			a.dnsNames = append(a.dnsNames, name)
		} else {
			a.fixed[transport.Normalized(entry)] = true
		}
	}
	return a
}

// add admits an address: the own one.
func (a *admission) add(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fixed[transport.Normalized(address)] = true
}

// admits reports whether the process at the address of a row is admitted. A client has no address and
// is always admitted: its secret or certificate shows that it belongs to the cluster.
func (a *admission) admits(address string) bool { return a.check(address, a.logOnce) }

// admitsConnection is admits for a connection, whose other side claims any address it likes. The
// transport logs rejections of connections itself.
func (a *admission) admitsConnection(address string) bool { return a.check(address, func(string) {}) }

// check reports whether an address is admitted; rejected is called with one that is not, under mu.
func (a *admission) check(address string, rejected func(address string)) bool {
	if !a.list || address == "" {
		return true
	}
	address = transport.Normalized(address)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.knows(address) {
		return true
	}
	rejected(address)
	select {
	case a.wake <- struct{}{}: // resolve at once: a DNS name may stand for the address by now
	default:
	}
	return false
}

// knows reports whether an address is listed, or was found for a DNS name. The caller holds mu.
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

// logOnce logs a rejected address once. When there are DNS names, one of them may stand for the address by
// now, so the log waits for the next resolution. The caller holds mu.
func (a *admission) logOnce(address string) {
	if _, known := a.rejected[address]; !known {
		if len(a.rejected) >= maxRejected {
			clear(a.rejected)
		}
		a.rejected[address] = false
		if len(a.dnsNames) == 0 {
			a.logRejected(address)
		}
	}
}

func (a *admission) logRejected(address string) {
	a.rejected[address] = true
	a.log("warning", fmt.Sprintf("the process at %s uses the same database and is not in groupcache.peers:"+
		" it is not admitted, and reads from the database", address))
}

// admit decides about a connection once the other side has proved its incarnation.
func (m *Mesh) admit(peer transport.Peer) error {
	if peer.Address != "" && peer.Address == m.Address && peer.Incarnation != uint64(m.Incarnation) {
		return fmt.Errorf("it has the same address as this process, %s", peer.Address)
	}
	if !m.admission.admitsConnection(peer.Address) {
		return fmt.Errorf("the process at %s is not in groupcache.peers", peer.Address)
	}
	return nil
}
