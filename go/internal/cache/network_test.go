package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// network is the connections to peers: each address has a function that answers requests.
type network struct {
	mu    sync.Mutex
	peers map[string]func(keys []VersionedKey) ([]Result, error)
	sent  map[string][]int // by address: how many keys each request had
	puts  []string         // address, event, key, version and value
	held  chan struct{}    // if set, requests of fetchers wait until it is closed
}

func (n *network) Get(_ context.Context, address string, keys []VersionedKey) ([]Result, error) {
	n.mu.Lock()
	n.sent[address] = append(n.sent[address], len(keys))
	answer := n.peers[address]
	n.mu.Unlock()
	if answer == nil {
		return nil, errors.New("connection refused")
	}
	return answer(keys)
}

func (n *network) Fetcher(address string) func(VersionedKey, func(Result)) {
	n.mu.Lock()
	answer, held := n.peers[address], n.held
	n.mu.Unlock()
	if answer == nil {
		return nil
	}
	return func(key VersionedKey, done func(Result)) {
		fetch := func() {
			results, err := n.Get(context.Background(), address, []VersionedKey{key})
			if err != nil {
				results = []Result{{Err: err}}
			}
			done(results[0])
		}
		if held == nil {
			fetch()
			return
		}
		go func() { <-held; fetch() }()
	}
}

func (n *network) Put(address string, event uint64, key VersionedKey, value []byte, _ int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.puts = append(n.puts, fmt.Sprintf("%s %d %s %d %s", address, event, key.Key, key.Version, value))
}

func (n *network) requests(address string) []int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.sent[address])
}

// newGroup returns a group of 8 MiB on a network without peers. If d is nil its loads are answered at once.
func newGroup(t testing.TB, cfg Config, d *database) (*Group, *network) {
	t.Helper()
	if d == nil {
		d = &database{respond: give}
	}
	n := &network{peers: make(map[string]func([]VersionedKey) ([]Result, error)), sent: make(map[string][]int)}
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

// withPeers makes a ring of the group and of peers that have every value in memory.
func withPeers(t testing.TB, g *Group, n *network, peers ...string) {
	t.Helper()
	for _, address := range peers {
		n.peers[address] = func(keys []VersionedKey) ([]Result, error) {
			results := make([]Result, len(keys))
			for i, key := range keys {
				results[i] = Result{Value: []byte(valueOf(string(key.Key))), Source: Peer, Expires: Never}
			}
			return results, nil
		}
	}
	if err := g.SetPeers(peers); err != nil {
		t.Fatal(err)
	}
}

// keysOf returns count keys whose owner is at an address; "" is the group itself.
func keysOf(g *Group, address string, count int) (keys []string) {
	for i := 0; len(keys) < count; i++ {
		if key := fmt.Sprintf("key %d", i); g.Owner([]byte(key)) == address {
			keys = append(keys, key)
		}
	}
	return keys
}

func wantLookup(t testing.TB, g *Group, key VersionedKey, source Source, value string) {
	t.Helper()
	buf := make([]byte, 1024)
	n, _, from := g.Lookup(key, buf)
	if from != source || string(buf[:n]) != value {
		t.Errorf("%q version %d: %q from %d, want %q from %d", key.Key, key.Version, buf[:n], from, value, source)
	}
}
