package cache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is processes with clocks of their own, and the database and the network between them. Its time passes only in
// wait. A value contains when its load, or the settlement of its write, began, and the TTL there.
type world struct {
	mu    sync.Mutex
	r     *rand.Rand
	t     int64
	all   []*member
	loads int
	aged  int // values with a TTL that peers gave
}

// member is one process of a world.
type member struct {
	*Group
	w       *world
	address string
	ttl     int64 // 0: values never expire
	ahead   int64 // of its clock against the world's
	down    bool  // it answers no peer
}

// wait lets time pass, usually little.
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

func (m *member) Get(ctx context.Context, address string, keys []VersionedKey) ([]Result, error) {
	other, sent := m.w.at(address), m.clock()
	m.w.wait()
	if other.down {
		return nil, errors.New("it is down")
	}
	results := other.AsOwner.Serve(ctx, keys, math.MaxInt)
	answered := other.clock()
	for i, r := range results {
		switch left := r.Expires - answered; {
		case r.Err != nil || r.Expires == Never:
		case left <= 0:
			results[i] = Result{Err: errors.New("it has expired")}
		default:
			results[i].Expires = sent + left
			m.w.mu.Lock()
			m.w.aged++
			m.w.mu.Unlock()
		}
	}
	m.w.wait()
	return results, nil
}

func (m *member) Fetcher(address string) func(VersionedKey, func(Result)) {
	return func(key VersionedKey, done func(Result)) {
		results, err := m.Get(context.Background(), address, []VersionedKey{key})
		if err != nil {
			results = []Result{{Err: err}}
		}
		done(results[0])
	}
}

func (m *member) Put(address string, _ uint64, key VersionedKey, value []byte, expires int64) {
	other := m.w.at(address)
	announced := other.clock()
	if expires != Never {
		expires += announced - m.clock()
	}
	m.w.wait()
	other.AsOwner.Keep(key, value, announced, expires)
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

// expiryOf returns when a value has to expire, by the world's time.
func expiryOf(t *testing.T, value []byte) int64 {
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

// step does something at random and checks what is read.
func (w *world) step(t *testing.T, keys []VersionedKey) {
	m := w.all[w.r.IntN(len(w.all))]
	key := keys[w.r.IntN(len(keys))]
	var results []Result
	begun := w.now()
	switch w.r.IntN(8) {
	case 0, 1:
		results = m.Group.Get(t.Context(), []VersionedKey{key})
	case 2, 3:
		results = m.Group.Get(t.Context(), keys)
	case 4, 5:
		m.GetAsync(key, func(r Result) { results = append(results, r) })
	case 6:
		from := m.clock()
		w.wait()
		m.Group.Put(1, key, fmt.Append(nil, begun, " ", m.ttl), from)
	case 7:
		m.down = !m.down
		w.all[w.r.IntN(len(w.all))].ring(t, w.all[w.r.IntN(2):])
	}
	for _, r := range results {
		if r.Err == nil && expiryOf(t, r.Value) <= begun {
			t.Errorf("a read that began at %d got %q from %d", begun, r.Value, r.Source)
		}
	}
}

// check tests all that is kept.
func (w *world) check(t *testing.T, keys []VersionedKey) {
	now, buf := w.now(), make([]byte, 100)
	for _, m := range w.all {
		for _, key := range keys {
			n, expires, source := m.Lookup(key, buf)
			if source == Nowhere {
				continue
			}
			if end := expiryOf(t, buf[:n]); end != Never && expires > end+m.ahead {
				t.Errorf("at %d %s keeps %q until %d, from %d", now, m.address, buf[:n], expires-m.ahead, source)
			}
			if m.ttl > 0 && expires > now+m.ahead+m.ttl {
				t.Errorf("at %d %s keeps %q longer than its TTL of %d", now, m.address, buf[:n], m.ttl)
			}
		}
	}
}

// However a value travels, it expires its loader's TTL after its load began, and no process keeps it longer than its own
// TTL.
func TestNoValueOutlivesItsTTL(t *testing.T) {
	keys := versioned(2, strings.Split("abcdefgh", "")...)
	for seed := range uint64(21) {
		w := newWorld(t, seed, [][]int64{{200, 200, 200}, {100, 400, 0}, {0, 50, 100}}[seed%3]...)
		for range 400 {
			w.step(t, keys)
			w.wait()
			if w.check(t, keys); t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		var copies uint64
		for _, m := range w.all {
			_, hot := m.Stats()
			copies += uint64(hot.Hits)
		}
		if w.loads < 20 || w.aged < 20 || copies < 20 {
			t.Errorf("seed %d: %d loads, %d values with a TTL from peers, %d hits of copies: the test is too gentle",
				seed, w.loads, w.aged, copies)
		}
	}
}

func TestAnExpiryThatOverflowsIsNever(t *testing.T) {
	for _, from := range []int64{1, Never - 1, Never} {
		if got := expiry(from, time.Duration(Never)); got != Never {
			t.Errorf("the expiry counted from %d is %d", from, got)
		}
	}
	if got := expiry(Never-10, 9); got != Never-1 {
		t.Errorf("the last instant before Never is %d before it", Never-got)
	}
}
