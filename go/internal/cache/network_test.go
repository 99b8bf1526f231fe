package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// network is the way to peers: each address has a function that answers.
type network struct {
	mu    sync.Mutex
	peers map[string]func(names []VersionedKey) ([]Result, error)
	asked map[string][]int // address: how many names each question had
	puts  []string         // address, event, key, version and value
	held  chan struct{}    // askers wait until it is closed
}

func (n *network) Get(_ context.Context, address string, names []VersionedKey) ([]Result, error) {
	n.mu.Lock()
	n.asked[address] = append(n.asked[address], len(names))
	answer := n.peers[address]
	n.mu.Unlock()
	if answer == nil {
		return nil, errors.New("nobody is there")
	}
	return answer(names)
}

// Fetcher asks when the test lets it.
func (n *network) Fetcher(address string) func(VersionedKey, func(Result)) {
	n.mu.Lock()
	answer, held := n.peers[address], n.held
	n.mu.Unlock()
	if answer == nil {
		return nil
	}
	return func(name VersionedKey, done func(Result)) {
		ask := func() {
			results, err := n.Get(context.Background(), address, []VersionedKey{name})
			if err != nil {
				results = []Result{{Err: err}}
			}
			done(results[0])
		}
		if held == nil {
			ask()
			return
		}
		go func() { <-held; ask() }()
	}
}

func (n *network) Put(address string, event uint64, name VersionedKey, value []byte, _ int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.puts = append(n.puts, fmt.Sprintf("%s %d %s %d %s", address, event, name.Key, name.Version, value))
}

func (n *network) questions(address string) []int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.asked[address])
}

// newGroup returns a group that has 8 MiB and, unless told otherwise, whose loads and peers
// answer at once.
func newGroup(t testing.TB, cfg Config, d *database) (*Group, *network) {
	t.Helper()
	if d == nil {
		d = &database{respond: give}
	}
	n := &network{peers: make(map[string]func([]VersionedKey) ([]Result, error)), asked: make(map[string][]int)}
	cfg.Size, cfg.Limits = 8<<20, roomy
	if cfg.Now == nil {
		cfg.Now = realClock
	}
	g, err := New(cfg, n, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g, n
}

// withPeers makes a ring of the group and peers that have every value in memory.
func withPeers(t testing.TB, g *Group, n *network, peers ...string) {
	t.Helper()
	for _, address := range peers {
		n.peers[address] = func(names []VersionedKey) ([]Result, error) {
			results := make([]Result, len(names))
			for i, name := range names {
				results[i] = Result{Value: []byte(valueOf(string(name.Key))), Source: Peer, Expires: Never}
			}
			return results, nil
		}
	}
	if err := g.SetPeers(peers); err != nil {
		t.Fatal(err)
	}
}

// keysOf returns count keys that belong to an address; "" is the group itself.
func keysOf(g *Group, address string, count int) (keys []string) {
	for i := 0; len(keys) < count; i++ {
		if key := fmt.Sprintf("key %d", i); g.Owner([]byte(key)) == address {
			keys = append(keys, key)
		}
	}
	return keys
}

func wantLookup(t testing.TB, g *Group, name VersionedKey, source Source, value string) {
	t.Helper()
	buf := make([]byte, 1024)
	n, _, from := g.Lookup(name, buf)
	if from != source || string(buf[:n]) != value {
		t.Errorf("%q version %d: %q from %d, want %q from %d", name.Key, name.Version, buf[:n], from, value, source)
	}
}
