package mesh

import (
	"context"
	"net"
	"sync"
	"time"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// Kinds of frames between processes.
const (
	FrameCoherence transport.FrameKind = iota + 1 // a message of package coherence
	FrameGet                                      // versioned keys; answered with results
	FramePut                                      // a pushed value
	FrameStats                                    // answered with the process's statistics
)

// Machine is the state machine under its lock, as the mesh needs it.
type Machine interface {
	sync.Locker
	// Input calls f under the lock and then does what the machine asks for. When f panics, the
	// machine restarts and the panic goes on to the caller.
	Input(f func(m *coherence.Machine, now coherence.Time))
	// InputGuarded is Input for goroutines: a panic is logged and goes no further.
	InputGuarded(f func(m *coherence.Machine, now coherence.Time))
}

// Options of a mesh.
type Options struct {
	Transport transport.Options // without Admit and Listed, which are the mesh's
	Alone     bool              // there are no peers: no transport, no admission
	Admit     []string          // addresses and "dns:host:port" that are admitted; none: every row
	Lease     time.Duration
	Machine   Machine
	Watch     transport.Watcher        // of lanes
	Owners    func(addresses []string) // called under the lock when other processes own keys than before
	Life      context.Context          // ends all goroutines
	Go        func(f func())           // starts a goroutine that the caller waits for after Close
}

// Mesh keeps the connections of this process. Its exported fields do not change after [Open], except Peers.
type Mesh struct {
	Options     Options // as given to Open
	Incarnation coherence.Incarnation
	Address     string               // what others dial; "": a client, or alone
	Host        string               // where Address is meant and liveness is held; "": nowhere, or not known
	Transport   *transport.Transport // nil when alone
	Breakers    Breakers
	Lanes       Lanes

	// Peers are the processes that this one has a session with, or dials. The machine's lock guards it.
	Peers map[coherence.Incarnation]*Peer

	owners    []string // addresses of the other processes that own keys; the machine's lock guards it
	admission *admission
	listed    listedRows
	liveness  *net.UnixConn
}

// Open takes the address at which this process is a peer, but accepts no connection yet: connections
// wait in the system's queue until [Mesh.Start].
func Open(o Options) (*Mesh, error) {
	m := &Mesh{
		Options:     o,
		Incarnation: coherence.Incarnation(o.Transport.Identity.Incarnation()),
		Peers:       make(map[coherence.Incarnation]*Peer),
	}
	if o.Alone {
		return m, nil
	}
	m.admission = newAdmission(o.Admit, o.Transport.Log, func() {
		o.Machine.InputGuarded(func(machine *coherence.Machine, _ coherence.Time) { m.MembersChanged(machine) })
	})
	m.admission.resolve(o.Life)
	if err := m.bind(o.Transport); err != nil {
		m.Close()
		m.ReleaseLiveness()
		return nil, err
	}
	return m, nil
}

func (m *Mesh) bind(o transport.Options) (err error) {
	o.Admit, o.Listed = m.admit, m.listed.has
	if m.Transport, err = transport.New(o); err != nil {
		return err
	}
	// Before it listens: the system closes the descriptors of a killed process in the order in which they
	// were opened, so a free address means a free liveness name.
	if m.liveness, err = holdLiveness(m.Incarnation); err != nil {
		o.Log("warning", "the end of this process will not be noticed at once: "+err.Error())
	}
	if len(o.Listen) > 0 {
		if m.Address, err = m.Transport.Bind(); err != nil {
			return err
		}
		m.admission.add(m.Address)
	}
	if m.liveness != nil && !m.advertised() {
		m.Host = thisHost()
	}
	return nil
}

// Start accepts connections, and resolves the DNS names of the admitted peers from now on.
func (m *Mesh) Start() error {
	if m.Options.Alone {
		return nil
	}
	if m.Address != "" {
		if err := m.Transport.Listen(); err != nil {
			return err
		}
	}
	if m.Options.Transport.Self.Address != "" {
		if err := m.checkClaim(); err != nil {
			return err
		}
	}
	m.Options.Go(func() { m.admission.run(m.Options.Life) })
	return nil
}

// Tick ends requests over lanes whose time is over, and, once after each view, the sessions of processes
// that do not get a row.
func (m *Mesh) Tick() {
	if m.Transport != nil && m.listed.fresh.Swap(false) {
		m.Transport.CloseUnlisted(unlistedLeases * m.Options.Lease)
	}
	m.Lanes.tick()
}

// Close ends all connections. The goroutines end with Options.Life.
func (m *Mesh) Close() {
	if m.Transport != nil {
		m.Transport.Close()
	}
}

// ReleaseLiveness gives up the socket that shows that this process lives: from now on it counts as
// ended.
func (m *Mesh) ReleaseLiveness() {
	if m.liveness != nil {
		_ = m.liveness.Close()
	}
}
