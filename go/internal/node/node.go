// Package node is one process's part in the cluster: it owns the goroutines, the clock and
// the connections, and brings the state machine of package coherence together with the cache,
// the transport, and the queue to Python.
package node

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// Node is a process's part in the cluster, from [Open] to [Node.Close].
type Node struct {
	cfg         Config
	identity    *transport.Identity
	incarnation coherence.Incarnation // the identity's
	started     time.Time
	address     string // what others dial; "": a client, or alone
	host        string // where address is what it says, and liveness is held; "": nowhere, or not known
	liveness    *net.UnixConn

	queue     *bridge.Queue
	watch     *bridge.Watch // the queue and the lanes: what Python's event loop knows
	memory    []byte        // of table and decoded
	table     *coherence.Table
	decoded   []uint64 // what Python counts
	group     *cache.Group
	transport *transport.Transport // nil when alone
	admission *admission           // nil when alone

	// mu guards the machine, and everything that is done because of it in its order: what
	// is queued for a session under it is sent in the order in which the machine said so.
	mu      sync.Mutex
	machine *coherence.Machine
	todo    []coherence.Action // what the machine has asked for and is not done yet
	broken  bool               // a panic has left half a change, and the machine could not restart
	quiet   bool               // the machine restarts again and again: its notes do not fill the log
	databases
	links map[coherence.Incarnation]*link
	ring  []string
	questions
	outsideWrites outsideWrites
	standing      standing

	listed   listedRows
	throttle transport.Throttle // of log lines that a peer can cause
	owed     owed
	loads    loads
	lanes    lanes
	breakers breakers
	reads    atomic.Int64 // under way
	serving  atomic.Int64 // bytes of the names that peers wait for
	counts   counts

	life context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Open starts a node; config is the JSON form of [Config]. It listens, if it is to, but knows
// nobody until Python has answered its first questions about the members table.
func Open(config []byte) (*Node, error) {
	cfg, err := parseConfig(config)
	if err != nil {
		return nil, err
	}
	identity, err := transport.NewIdentity()
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg:         cfg,
		identity:    identity,
		incarnation: coherence.Incarnation(identity.Incarnation()),
		started:     time.Now(),
		links:       make(map[coherence.Incarnation]*link),
	}
	n.life, n.stop = context.WithCancel(context.Background())
	if err := n.open(); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func (n *Node) open() (err error) {
	if n.queue, err = bridge.New(); err != nil {
		return err
	}
	if n.watch, err = bridge.NewWatch(); err != nil {
		return err
	}
	if _, err = n.watch.Add(n.queue.FD(), func() {}); err != nil {
		return err
	}
	if n.table, n.decoded, err = n.mapShared(); err != nil {
		return err
	}
	// The address is part of what is made below, so it is taken first. Who dials it already
	// waits in the system's queue until all is made.
	if !n.cfg.Alone {
		if err = n.bind(); err != nil {
			return err
		}
	}
	address := n.address
	if n.cfg.Alone {
		address = "self" // a ring of one
	}
	n.group, err = cache.New(cache.Config{
		Address: address, Alone: n.cfg.Alone, Size: n.cfg.storeSize(), TTL: n.cfg.ttl(),
		Limits: cache.Limits{Flights: maxFlights, LoadTimeout: loadTimeout},
		Now:    func() int64 { return int64(now()) },
	}, (*peers)(n), (*loader)(n))
	if err != nil {
		return err
	}
	n.machine = coherence.New(coherence.Config{
		Incarnation: n.incarnation, Address: n.address, Alone: n.cfg.Alone,
		Lease: seconds(n.cfg.Lease), AckTimeout: ackTimeout, OrphanAfter: orphanAfter,
		Random: random,
	}, n.table, now())
	if n.address != "" {
		if err = n.transport.Listen(); err != nil {
			return err
		}
	}
	if n.cfg.Advertise != "" {
		if err = n.checkClaim(); err != nil {
			return err
		}
	}
	n.input(func(*coherence.Machine, coherence.Time) {})
	n.wg.Go(n.tickUntilClosed)
	if !n.cfg.Alone {
		n.wg.Go(func() { n.admission.run(n.life) })
	}
	return nil
}

// bind takes the address at which this process is a peer, if it is to be one.
func (n *Node) bind() (err error) {
	n.admission = newAdmission(n.cfg.Admit, n.log, func() {
		n.inputGuarded(func(*coherence.Machine, coherence.Time) { n.membersChanged() })
	})
	n.admission.resolve(n.life)
	options := transport.Options{
		Identity: n.identity,
		Listen:   n.cfg.Listen,
		Self:     transport.Peer{Address: n.cfg.Advertise},
		Secret:   n.cfg.Secret.Secret,
		Admit:    n.admit,
		Listed:   n.listed.has,
		Handler:  (*handler)(n),
		Log:      n.log,
	}
	if t := n.cfg.TLS; t != nil {
		options.TLS = &transport.Files{Cert: t.Cert, Key: t.Key, CA: t.CA}
	}
	if n.transport, err = transport.New(options); err != nil {
		return err
	}
	// Before it listens: of a process that is killed the system closes what it opened first, first.
	if n.liveness, err = holdLiveness(n.incarnation); err != nil {
		n.log("warning", "that this process ends will not be noticed at once: "+err.Error())
	}
	if len(n.cfg.Listen) > 0 {
		if n.address, err = n.transport.Bind(); err != nil {
			return err
		}
		n.admission.add(n.address)
	}
	if n.liveness != nil && !n.advertised() {
		n.host = thisHost()
	}
	return nil
}

// FD is readable while [Node.Drain] has something to give.
func (n *Node) FD() int { return n.watch.FD() }

// Drain reads what the lanes have brought, and moves finished work into buf; see
// [bridge.Queue.Drain].
func (n *Node) Drain(buf []byte) int {
	n.queue.Attend()
	n.watch.Ready()
	return n.queue.Drain(buf)
}

// input hands something to the machine and does what it asks for.
func (n *Node) input(f func(m *coherence.Machine, now coherence.Time)) {
	n.locked(func() { f(n.machine, now()) })
}

func (n *Node) tickUntilClosed() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			n.guarded(n.tick)
		case <-n.life.Done():
			return
		}
	}
}

func (n *Node) tick() {
	n.input(func(m *coherence.Machine, now coherence.Time) {
		m.Tick(now)
		n.standing.watch(n, m, now)
	})
	n.closeUnlisted()
	n.payDebts()
	n.lanes.tick()
}

// carryOut does what the machine asks for. A panic loses the one action that it comes from: without
// the others a commit, or a member, would wait in vain. The caller holds mu.
func (n *Node) carryOut() {
	for {
		n.todo = append(n.todo, n.machine.Actions()...)
		if len(n.todo) == 0 {
			n.todo = nil
			return
		}
		a := n.todo[0]
		n.todo = n.todo[1:]
		switch a.Kind {
		case coherence.Send:
			n.sendCoherence(a.To, a.Message)
		case coherence.Cleared:
			n.tell(bridge.Passed, a.Event.Sequence, nil)
		case coherence.Members:
			n.membersChanged()
		case coherence.Log:
			if !n.quiet {
				n.log("info", a.Text)
			}
		default:
			n.ask(a)
		}
	}
}

// log hands a line to Python's logger; level is a name of Python's logging.
func (n *Node) log(level, text string) {
	n.queue.Put(bridge.Note, 0, []byte(level), []byte{0}, []byte(text))
}

// Leave serves nothing any more, says bye to the others, and asks Python to remove the row
// from the members table.
func (n *Node) Leave() {
	n.input(func(m *coherence.Machine, now coherence.Time) { m.Leave(now) })
}

// Close ends every connection, load and goroutine, and gives all memory back. Nothing may be
// called afterwards.
func (n *Node) Close() {
	n.stop()
	if n.transport != nil {
		n.transport.Close()
	}
	if n.group != nil {
		n.group.Close()
	}
	n.wg.Wait()
	if n.queue != nil {
		n.queue.Close()
	}
	if n.watch != nil {
		n.watch.Close()
	}
	if n.memory != nil {
		_ = syscall.Munmap(n.memory)
		n.memory = nil
	}
	if n.liveness != nil {
		_ = n.liveness.Close() // last: from here on it counts as ended
	}
}
