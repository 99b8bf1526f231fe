package node

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// process is a node with a Python beside it: a goroutine that drains the queue, and executes loads and
// database queries on the database of the test.
type process struct {
	*Node
	t   testing.TB
	db  *database
	end func()

	mu      sync.Mutex // held while Python is paused
	wg      sync.WaitGroup
	waiting sync.Map // request or event: chan []byte
	numbers atomic.Uint64
	logged  sync.Map // lines of the log

	secondAway   atomic.Bool  // the second database does not answer this process
	secondAsked  atomic.Int64 // time of the last look that the second database has answered; 0: of the view
	loaded       atomic.Int64 // keys
	unregistered atomic.Bool  // views list notes that were not registered
}

type settings map[string]any

// base is the least configuration with which a node opens.
var base = settings{"size": 1 << 20, "lease": 2, "buckets": 1 << 16}

// open starts a process in the cluster of a database. It ends without a bye at the end of the test.
func open(t testing.TB, db *database, changes settings) *process {
	t.Helper()
	n, err := Open(form(with(settings{"size": 64 << 20}, changes)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Databases.Serve("db", nil); err != nil { // every key
		t.Fatal(err)
	}
	p := &process{Node: n, t: t, db: db}
	stop := make(chan struct{})
	p.wg.Go(func() { p.python(stop) })
	p.end = sync.OnceFunc(func() {
		close(stop)
		p.wg.Wait()
		n.Close()
	})
	t.Cleanup(p.end)
	return p
}

// with returns settings with some changes; their "listen" may be one address.
func with(all ...settings) settings {
	cfg := maps.Clone(base)
	for _, changes := range all {
		maps.Copy(cfg, changes)
	}
	if address, ok := cfg["listen"].(string); ok {
		cfg["listen"] = slices.DeleteFunc([]string{address}, func(a string) bool { return a == "" })
	}
	return cfg
}

// python serves the queue until stop is closed.
func (p *process) python(stop chan struct{}) {
	buf := make([]byte, 1<<16)
	for {
		select {
		case <-stop:
			return
		default:
		}
		fds := []unix.PollFd{{Fd: int32(p.Queue.Watch.FD()), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 20); err != nil && !errors.Is(err, unix.EINTR) {
			p.t.Errorf("poll: %v", err)
			return
		} else if n <= 0 {
			continue
		}
		p.mu.Lock()
		n := p.Queue.Drain(buf)
		if n < 0 {
			buf = make([]byte, -n)
			n = p.Queue.Drain(buf)
		}
		for b := append([]byte(nil), buf[:max(n, 0)]...); len(b) > 0; {
			size := binary.LittleEndian.Uint32(b)
			p.take(bridge.CompletionKind(b[4]), binary.LittleEndian.Uint64(b[8:]), b[16:size:size])
			b = b[size:]
		}
		p.mu.Unlock()
	}
}

func (p *process) take(kind bridge.CompletionKind, id uint64, payload []byte) {
	switch kind {
	case bridge.Values, bridge.PeerStats, bridge.Cleared:
		// Events and requests are numbered separately.
		if c, ok := p.waiting.LoadAndDelete(waitKey{kind == bridge.Cleared, id}); ok {
			c.(chan []byte) <- payload
		}
	case bridge.Load:
		keys, err := bridge.UnpackList(payload)
		if err != nil {
			p.t.Errorf("a load of a malformed list: %v", err)
		}
		p.loaded.Add(int64(len(keys)))
		if packed, failed := p.db.load(keys); failed != "" {
			p.Loads.Loaded(id, nil, errors.New(failed))
		} else {
			p.Loads.Loaded(id, packed, nil)
		}
	case bridge.DatabaseQuery:
		var q bridge.Query
		if err := json.Unmarshal(payload, &q); err != nil {
			p.t.Errorf("a query that is not JSON: %v", err)
		}
		p.Answer(id, p.db.answer(q, p.looks(q)))
	case bridge.Log:
		p.logged.Store(string(payload), true)
	}
}

// pausePython makes Python stand still until the returned function is called.
func (p *process) pausePython() (resume func()) {
	p.mu.Lock()
	return sync.OnceFunc(p.mu.Unlock)
}

type waitKey struct {
	cleared bool
	id      uint64
}

func (p *process) expect(cleared bool, id uint64) chan []byte {
	c := make(chan []byte, 1)
	if earlier, ok := p.waiting.LoadOrStore(waitKey{cleared, id}, c); ok {
		return earlier.(chan []byte)
	}
	return c
}

func (p *process) await(what string, c chan []byte) []byte {
	select {
	case payload := <-c:
		return payload
	case <-time.After(patience):
		p.t.Errorf("not within %v: %s", patience, what)
		return nil
	}
}

// begin begins a read; the channel brings the packed answer.
func (p *process) begin(keys ...string) chan []byte {
	id := p.numbers.Add(1)
	c := p.expect(false, id)
	if err := p.Read(id, packed(keys...)); err != nil {
		p.t.Error(err)
	}
	return c
}

// read gets keys wherever they are.
func (p *process) read(keys ...string) []cache.Result {
	results, err := bridge.UnpackResults(p.await("a read is answered", p.begin(keys...)))
	if err != nil || len(results) != len(keys) {
		p.t.Errorf("%d results for %d keys, %v", len(results), len(keys), err)
		return make([]cache.Result, len(keys))
	}
	return results
}

// readServed reads until no key must be read from the database: on a slow machine a view may come
// later than a lease after the one before, and the process then bypasses for a moment.
func (p *process) readServed(keys ...string) (results []cache.Result) {
	eventually(p.t, "every key is served", func() bool {
		results = p.read(keys...)
		return !slices.ContainsFunc(results, func(r cache.Result) bool { return r.Source == cache.Nowhere })
	})
	return results
}

// Lookup looks into this process's memory only.
func (p *process) Lookup(key, buf []byte) (int, Found) { return p.Get(0, key, buf) }

// get reads as Python's utility does: from memory, by a read, or from the database.
func (p *process) get(key string) string {
	buf := make([]byte, 64)
	switch n, _ := p.Lookup([]byte(key), buf); {
	case n == Bypass:
		return p.db.get(key)
	case n >= 0:
		return string(buf[:n])
	}
	r := p.read(key)[0]
	if r.Source == cache.Nowhere {
		return p.db.get(key)
	}
	return string(r.Value)
}

// write is a transaction: announce, wait, commit, settle. With push the value is pushed to its owner.
func (p *process) write(key, value string, push bool) {
	transaction := fmt.Sprintf("%p %d", p, p.numbers.Add(1))
	p.db.with(func() { p.db.open[transaction] = true })
	event := p.announce(key)
	p.db.with(func() {
		p.db.values[key] = value
		delete(p.db.open, transaction)
	})
	var pushes []byte
	if push {
		pushes = packed(key, value)
	}
	if err := p.Settle(event, pushes); err != nil {
		p.t.Error(err)
	}
}

// announce announces an event and returns when COMMIT may be sent.
func (p *process) announce(keys ...string) uint64 {
	// Python cannot take the answer before it has the number.
	p.mu.Lock()
	event, err := p.Announce("db", packed(keys...), len(keys) == 0)
	c := p.expect(true, event)
	p.mu.Unlock()
	if err != nil {
		p.t.Error(err)
	}
	p.await("a commit may be sent", c)
	return event
}

func (p *process) serves() bool {
	p.driver.Lock()
	defer p.driver.Unlock()
	return p.driver.machine.Serves(now())
}

// reaches returns how many other owners of keys are connected.
func (p *process) reaches() (n int) {
	for _, address := range p.owners() {
		if p.mesh.SessionTo(address) != nil {
			n++
		}
	}
	return n
}

// settled reports whether a key may be served: it is not in doubt, and the process does not bypass.
func (p *process) settled(key string) bool {
	_, ok := p.Databases.Version([]byte(key))
	return ok
}

func (p *process) incarnationID() uint64 { return uint64(p.mesh.Incarnation) }

// peers is the cache's way to the owners.
func (p *process) peers() *peers { return &peers{p.mesh, &p.driver.guard} }

// peerCount returns how many other processes it has a session with, or dials.
func (p *process) peerCount() int {
	p.driver.Lock()
	defer p.driver.Unlock()
	return len(p.mesh.Peers)
}

func (p *process) rows() []coherence.Row {
	p.driver.Lock()
	defer p.driver.Unlock()
	return p.driver.machine.Rows()
}
