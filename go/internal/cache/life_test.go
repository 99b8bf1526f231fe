package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// world is processes with clocks of their own, the database and the network between them. Its
// time passes while somebody waits, and never otherwise. A value tells when its load, or the
// settlement of its write, began, and how long it may live.
type world struct {
	mu    sync.Mutex
	r     *rand.Rand
	t     int64
	all   []*member
	loads int
	aged  int // answers with a part of a life
}

// member is one process of a world.
type member struct {
	*Group
	w       *world
	address string
	ttl     int64 // 0: for ever
	ahead   int64 // its clock before the world's
	down    bool  // it answers no peer
}

// wait lets time pass, now and then much.
func (w *world) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t += w.r.Int64N(1 << w.r.IntN(7))
}

func (w *world) now() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.t
}

func (m *member) clock() int64 { return m.w.now() + m.ahead }

func (m *member) Load(keys [][]byte, done func([]Result, error)) {
	value := fmt.Sprint(m.w.now(), " ", m.ttl)
	m.w.mu.Lock()
	m.w.loads += len(keys)
	m.w.mu.Unlock()
	m.w.wait()
	done(slices.Repeat([]Result{{Value: []byte(value)}}, len(keys)), nil)
}

func (w *world) at(address string) *member {
	return w.all[slices.IndexFunc(w.all, func(m *member) bool { return m.address == address })]
}

func (m *member) Get(ctx context.Context, address string, names []Name) ([]Result, error) {
	other, asked := m.w.at(address), m.clock()
	m.w.wait()
	if other.down {
		return nil, errors.New("it is down")
	}
	results := other.Serve(ctx, names)
	answered := other.clock()
	for i, r := range results {
		switch left := r.Expires - answered; {
		case r.Err != nil || r.Expires == Never:
		case left <= 0:
			results[i] = Result{Err: errors.New("it has ended")}
		default:
			results[i].Expires = asked + left
			m.w.mu.Lock()
			m.w.aged++
			m.w.mu.Unlock()
		}
	}
	m.w.wait()
	return results, nil
}

func (m *member) Asker(address string) func(Name, func(Result)) {
	return func(name Name, done func(Result)) {
		results, err := m.Get(context.Background(), address, []Name{name})
		if err != nil {
			results = []Result{{Err: err}}
		}
		done(results[0])
	}
}

func (m *member) Put(address string, _ uint64, name Name, value []byte, expires int64) {
	other := m.w.at(address)
	told := other.clock()
	if expires != Never {
		expires += told - m.clock()
	}
	m.w.wait()
	other.Keep(name, value, told, expires)
}

func newWorld(t *testing.T, seed uint64, ttls ...int64) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 0)), t: 1}
	for i, ttl := range ttls {
		m := &member{w: w, address: fmt.Sprint("process:", i), ttl: ttl, ahead: w.r.Int64N(1 << 40)}
		w.all = append(w.all, m)
		var err error
		m.Group, err = New(Config{Address: m.address, Size: 1 << 20, TTL: time.Duration(ttl), Limits: roomy, Now: m.clock}, m, m)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
	}
	for _, m := range w.all {
		m.ring(t, w.all)
	}
	return w
}

func (m *member) ring(t *testing.T, members []*member) {
	var addresses []string
	for _, other := range members {
		addresses = append(addresses, other.address)
	}
	if err := m.SetPeers(addresses); err != nil {
		t.Fatal(err)
	}
}

// endOf tells when a value has to end by the world's time.
func endOf(t *testing.T, value []byte) int64 {
	t.Helper()
	var begun, ttl int64
	if _, err := fmt.Sscan(string(value), &begun, &ttl); err != nil {
		t.Fatalf("%q: %v", value, err)
	}
	if ttl == 0 {
		return Never
	}
	return begun + ttl
}

// step does something at random, and checks what is read.
func (w *world) step(t *testing.T, wanted []Name) {
	m := w.all[w.r.IntN(len(w.all))]
	name := wanted[w.r.IntN(len(wanted))]
	var results []Result
	begun := w.now()
	switch w.r.IntN(8) {
	case 0, 1:
		results = m.Group.Get(t.Context(), []Name{name})
	case 2, 3:
		results = m.Group.Get(t.Context(), wanted)
	case 4, 5:
		m.GetSoon(name, func(r Result) { results = append(results, r) })
	case 6:
		from := m.clock()
		w.wait()
		m.Group.Put(1, name, fmt.Append(nil, begun, " ", m.ttl), from)
	case 7:
		m.down = !m.down
		w.all[w.r.IntN(len(w.all))].ring(t, w.all[w.r.IntN(2):])
	}
	for _, r := range results {
		if r.Err == nil && endOf(t, r.Value) <= begun {
			t.Errorf("a read that began at %d got %q from %d", begun, r.Value, r.Source)
		}
	}
}

// check looks at all that is kept.
func (w *world) check(t *testing.T, wanted []Name) {
	now, buf := w.now(), make([]byte, 100)
	for _, m := range w.all {
		for _, name := range wanted {
			n, expires, source := m.Lookup(name, buf)
			if source == Nowhere {
				continue
			}
			if end := endOf(t, buf[:n]); end != Never && expires > end+m.ahead {
				t.Errorf("at %d %s keeps %q until %d, from %d", now, m.address, buf[:n], expires-m.ahead, source)
			}
			if m.ttl > 0 && expires > now+m.ahead+m.ttl {
				t.Errorf("at %d %s keeps %q longer than its own ttl of %d", now, m.address, buf[:n], m.ttl)
			}
		}
	}
}

// However a value travels: it ends when its loader's ttl is over since its load began, and where
// it is kept it stays no longer than that process's own ttl allows.
func TestNoValueOutlivesItsTTLOnAnyWay(t *testing.T) {
	wanted := names(2, strings.Split("abcdefgh", "")...)
	for seed := range uint64(21) {
		w := newWorld(t, seed, [][]int64{{200, 200, 200}, {100, 400, 0}, {0, 50, 100}}[seed%3]...)
		for range 400 {
			w.step(t, wanted)
			w.wait()
			if w.check(t, wanted); t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		var copies uint64
		for _, m := range w.all {
			_, hot := m.Stats()
			copies += uint64(hot.Hits)
		}
		if w.loads < 20 || w.aged < 20 || copies < 20 {
			t.Errorf("seed %d: %d loads, %d answers with a part of a life, %d hits on copies: it is too gentle",
				seed, w.loads, w.aged, copies)
		}
	}
}

// clockedOwner returns an owner with a ttl of 10, and its clock, which shows 1000 until it is set.
func clockedOwner(t *testing.T, d *database, limits Limits) (*Owner, *atomic.Int64) {
	clock := &atomic.Int64{}
	clock.Store(1000)
	store := NewStore(1<<20, clock.Load)
	o := NewOwner(store, d, 10, limits)
	t.Cleanup(func() {
		o.Close()
		store.Close()
	})
	return o, clock
}

// A load that takes longer than the ttl is shared by those who asked in time.
func TestALoadIsNotSharedByWhoAsksWhenItsValueHasEnded(t *testing.T) {
	d := &database{}
	o, clock := clockedOwner(t, d, Limits{Flights: 2, LoadTimeout: patience})
	first := asks(t.Context(), o, names(2, "a"))
	d.call(t, 0)
	clock.Store(1009)
	inTime := asks(t.Context(), o, names(2, "a"))
	eventually(t, "one shares the load", func() bool { return o.Shared.Load() == 1 })
	clock.Store(1010)
	late := asks(t.Context(), o, names(2, "a"))
	d.call(t, 1)
	// What has outlived its value still counts, so that the limit holds.
	if r := o.Get(t.Context(), names(2, "b"))[0]; !errors.Is(r.Err, ErrOverload) {
		t.Errorf("got %v, want %v", r.Err, ErrOverload)
	}
	d.call(t, 1).give("new")
	wantResult(t, within(t, late)[0], Database, "new")
	d.call(t, 0).give("old")
	wantResult(t, within(t, first)[0], Database, "old")
	wantResult(t, within(t, inTime)[0], Shared, "old")
	wantResult(t, o.Get(t.Context(), names(2, "a"))[0], Own, "new")
	if len(o.flights) != 0 || len(o.all) != 0 {
		t.Errorf("%d loads are left over", len(o.all))
	}
}

func TestCloseEndsALoadThatHasOutlivedItsValue(t *testing.T) {
	d := &database{}
	o, clock := clockedOwner(t, d, roomy)
	first := asks(t.Context(), o, names(2, "a"))
	d.call(t, 0)
	clock.Store(1010)
	second := asks(t.Context(), o, names(2, "a"))
	d.call(t, 1)
	o.Close()
	for _, answer := range []<-chan []Result{first, second} {
		if r := within(t, answer)[0]; !errors.Is(r.Err, ErrClosed) {
			t.Errorf("got %v, want %v", r.Err, ErrClosed)
		}
	}
}

// heldPeer is a group with a peer whose first answer waits until it is released. What it gives ends
// 10 after the question, of which it tells; the clock shows 1000 until it is set.
type heldPeer struct {
	*Group
	network *network
	clock   atomic.Int64
	release chan struct{}
}

func newHeldPeer(t *testing.T, ttl time.Duration, d *database) *heldPeer {
	h := &heldPeer{release: make(chan struct{})}
	h.clock.Store(1000)
	h.Group, h.network = newGroup(t, Config{Address: "self:1", TTL: ttl, Now: h.clock.Load}, d)
	withPeers(t, h.Group, h.network, "peer:1")
	h.network.peers["peer:1"] = func([]Name) ([]Result, error) {
		asked := h.clock.Load()
		if asked == 1000 {
			<-h.release
		}
		return []Result{{Value: fmt.Append(nil, "of ", asked), Source: Peer, Expires: asked + 10}}, nil
	}
	return h
}

// getLater gets a name in the background, and returns when it has looked into the hot store as often
// as one does who then waits for another one's request: it has that many looks before it.
func (h *heldPeer) getLater(t *testing.T, name Name, looks int64) <-chan Result {
	answer := make(chan Result, 1)
	go func() { answer <- h.Get(context.Background(), []Name{name})[0] }()
	eventually(t, "it waits", func() bool { return h.hot.Stats().Gets == looks })
	return answer
}

// groupcache lets all share who come while a request, or a load, is under way.
func TestWhoCameWhenTheValueHadEndedSharesNoRequest(t *testing.T) {
	h := newHeldPeer(t, 0, nil)
	name := names(2, keysOf(h.Group, "peer:1", 1)...)[0]
	first := h.getLater(t, name, 3)
	eventually(t, "the peer is asked", func() bool { return len(h.network.questions("peer:1")) == 1 })
	h.clock.Store(1009)
	inTime := h.getLater(t, name, 5)
	h.clock.Store(1010)
	late := h.getLater(t, name, 7)
	close(h.release)
	wantResult(t, within(t, first), Peer, "of 1000")
	if r := within(t, inTime); string(r.Value) != "of 1000" && string(r.Value) != "of 1010" {
		t.Errorf("who came in time got %q, %v", r.Value, r.Err)
	}
	wantResult(t, within(t, late), Peer, "of 1010")
}

func TestWhoCameWhenTheValueHadEndedSharesNoLoadThroughGroupcache(t *testing.T) {
	d := &database{}
	h := newHeldPeer(t, 10, d)
	name := names(2, keysOf(h.Group, "", 1)...)[0]
	first := h.getLater(t, name, 3)
	d.call(t, 0)
	h.clock.Store(1010)
	late := h.getLater(t, name, 5)
	d.call(t, 0).give("old")
	wantResult(t, within(t, first), Database, "old")
	d.call(t, 1).give("new")
	wantResult(t, within(t, late), Database, "new")
}

func TestWhoAsksSoonWhenTheValueHasEndedSharesNoRequest(t *testing.T) {
	for what, ttl := range map[string]time.Duration{"by the peer's ttl": 0, "by the own ttl": 5} {
		h := newHeldPeer(t, ttl, nil)
		name := names(2, keysOf(h.Group, "peer:1", 1)...)[0]
		first, inTime, late := make(chan Result, 1), make(chan Result, 1), make(chan Result, 1)
		go h.GetSoon(name, func(r Result) { first <- r })
		eventually(t, "the peer is asked", func() bool { return len(h.network.questions("peer:1")) == 1 })
		h.clock.Store(1004)
		h.GetSoon(name, func(r Result) { inTime <- r })
		h.clock.Store(1010 - int64(ttl))
		h.GetSoon(name, func(r Result) { late <- r })
		close(h.release)
		wantResult(t, within(t, first), Peer, "of 1000")
		wantResult(t, within(t, inTime), Shared, "of 1000")
		if r := within(t, late); !errors.Is(r.Err, errEnded) {
			t.Errorf("%s: who asked when it had ended got %q, %v", what, r.Value, r.Err)
		}
	}
}
