package node

import (
	"context"
	"sync"
	"time"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/mesh"
	"guillotina_groupcache/internal/transport"
)

// Node is a process's part in the cluster, from [Open] to [Node.Close].
type Node struct {
	Queue     *bridge.Queue // of completions for Python
	Loads     *bridge.Loads // that Python works on
	Databases Databases     // that are served, and the versions of their keys
	Memory    *Memory       // that Python shares

	cfg     Config
	started time.Time
	driver  driver
	queries *bridge.Queries // the driver's lock guards it
	serving servingState    // the driver's lock guards it
	mesh    *mesh.Mesh
	group   *cache.Group
	handler *handler
	tasks   tasks
	counts  counts

	life context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Open starts a node; config is the JSON form of [Config]. The node listens, if it has an address, but
// knows no other process until Python has answered its first queries about the members table.
func Open(config []byte) (*Node, error) {
	cfg, err := parseConfig(config)
	if err != nil {
		return nil, err
	}
	identity, err := transport.NewIdentity()
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, started: time.Now()}
	n.life, n.stop = context.WithCancel(context.Background())
	if err := n.open(identity); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func (n *Node) open(identity *transport.Identity) (err error) {
	if n.Queue, err = bridge.NewQueue(); err != nil {
		return err
	}
	if n.Memory, err = newMemory(n.cfg.Buckets); err != nil {
		return err
	}
	n.driver.log, n.driver.do = n.Queue.Log, n.carryOut
	n.driver.forgetQueries = func() { clear(n.queries.Pending) }
	n.Databases.driver, n.Databases.table = &n.driver, n.Memory.table
	n.tasks.guard, n.tasks.wg, n.tasks.life = &n.driver.guard, &n.wg, n.life
	n.Loads = bridge.NewLoads(n.Queue, n.Databases.reachable)
	n.handler = &handler{driver: &n.driver, buckets: n.cfg.Buckets, tasks: &n.tasks, counts: &n.counts, stats: n.Stats}
	// The address is a part of what is made next, so it is taken first. Processes that dial it already
	// wait in the system's queue.
	if n.mesh, err = mesh.Open(n.meshOptions(identity)); err != nil {
		return err
	}
	n.handler.Mesh = n.mesh
	self := coherence.Row{Incarnation: n.mesh.Incarnation, Address: n.mesh.Address, Host: n.mesh.Host}
	n.queries = bridge.NewQueries(n.Queue, self, seconds(n.cfg.Lease), n.mesh.ViewTaken)
	if n.group, err = cache.New(n.groupConfig(), &peers{n.mesh, &n.driver.guard}, n.Loads); err != nil {
		return err
	}
	n.handler.group = n.group
	n.driver.machine = coherence.New(coherence.Config{
		Incarnation: n.mesh.Incarnation, Address: n.mesh.Address, Alone: n.cfg.Alone,
		Lease: seconds(n.cfg.Lease), AckTimeout: ackTimeout, OrphanAfter: orphanAfter, Random: random,
	}, n.Memory.table, now())
	if err = n.mesh.Start(); err != nil {
		return err
	}
	n.driver.Input(func(*coherence.Machine, coherence.Time) {})
	n.wg.Go(n.tickUntilClosed)
	return nil
}

func (n *Node) meshOptions(identity *transport.Identity) mesh.Options {
	return mesh.Options{
		Transport: transport.Options{
			Identity: identity, Listen: n.cfg.Listen, Self: transport.Peer{Address: n.cfg.Advertise},
			Secret: n.cfg.Secret, TLS: n.cfg.TLS, Handler: n.handler, Log: n.Queue.Log,
		},
		Alone: n.cfg.Alone, Admit: n.cfg.Admit, Lease: seconds(n.cfg.Lease),
		Machine: &n.driver, Watch: n.Queue.Watch, Life: n.life, Go: n.wg.Go,
		Owners: func(addresses []string) {
			if err := n.group.SetPeers(addresses); err != nil {
				n.Queue.Log("error", "the ring of owners cannot be made: "+err.Error())
			}
		},
	}
}

func (n *Node) groupConfig() cache.Config {
	address := n.mesh.Address
	if n.cfg.Alone {
		address = "self" // a ring of one
	}
	return cache.Config{
		Address: address, Alone: n.cfg.Alone, Size: n.cfg.storeSize(), TTL: n.cfg.ttl(),
		Limits: cache.Limits{Flights: maxFlights, LoadTimeout: loadTimeout},
		Now:    func() int64 { return int64(now()) },
	}
}

// carryOut carries out an action of the machine. The caller holds the lock.
func (n *Node) carryOut(a coherence.Action) {
	switch a.Kind {
	case coherence.Send:
		n.mesh.Send(a.To, a.Message)
	case coherence.Cleared:
		n.Queue.Deliver(bridge.Cleared, a.Event.Sequence, nil)
	case coherence.Members:
		n.mesh.MembersChanged(n.driver.machine)
	default:
		n.queries.Begin(n.driver.machine, now(), a)
	}
}

func (n *Node) tickUntilClosed() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			n.driver.run(n.tick)
		case <-n.life.Done():
			return
		}
	}
}

func (n *Node) tick() {
	n.driver.Input(func(m *coherence.Machine, now coherence.Time) {
		m.Tick(now)
		n.serving.watch(m, now, n.Queue.Log)
	})
	n.Queue.FlushDeferred()
	n.mesh.Tick()
}

// Leave stops serving, says bye to the other processes, and asks Python to remove the row from the
// members table.
func (n *Node) Leave() {
	n.driver.Input(func(m *coherence.Machine, now coherence.Time) { m.Leave(now) })
}

// Close ends every session, load and goroutine, and gives all memory back. No method may be called
// afterwards.
func (n *Node) Close() {
	n.stop()
	if n.mesh != nil {
		n.mesh.Close()
	}
	if n.group != nil {
		n.group.Close()
	}
	n.wg.Wait()
	if n.Queue != nil {
		n.Queue.Close()
	}
	if n.Memory != nil {
		n.Memory.close()
	}
	if n.mesh != nil {
		n.mesh.ReleaseLiveness() // last: from now on the process counts as ended
	}
}
