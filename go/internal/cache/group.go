package cache

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcache/groupcache-go/v3"
	"github.com/groupcache/groupcache-go/v3/transport"
	"github.com/groupcache/groupcache-go/v3/transport/peer"

	"guillotina_groupcache/internal/store"
)

// replicas is the number of points that each peer has on the ring. With 256 the largest share of the keys is about a
// tenth above the mean.
const replicas = 256

// hotShare says what the hot store gets, as in groupcache: 1/hotShare of the bytes. The more is copied, the fewer
// different values the cluster holds.
const hotShare = 8

// Peers sends requests to the processes that own keys.
type Peers interface {
	// Get requests keys from the process at address and waits for the answer. It returns a result for each key, in
	// order. A value's expiry is counted from before the request was sent.
	Get(ctx context.Context, address string, keys []VersionedKey) ([]Result, error)
	// Fetcher returns a function that requests one key from the process at address without blocking, and calls done
	// once, from any goroutine. It returns nil if no request can be sent there now.
	Fetcher(address string) func(key VersionedKey, done func(Result))
	// Put sends a value that event has written to the owner of its key, without waiting. The value ends at expires.
	Put(address string, event uint64, key VersionedKey, value []byte, expires int64)
}

// Config of a group.
type Config struct {
	// Address is this process's point on the ring. A client, or a process without peers, may have none: "".
	Address string
	// Alone says that there will be no peers, so there is no hot store.
	Alone bool
	// Size is the limit of the main and the hot store together, in bytes.
	Size int64
	// TTL is how long after the begin of its load a value expires; 0 is never.
	TTL time.Duration
	// Limits are those of the loads under way here.
	Limits Limits
	// Now is the clock of every expiry, in nanoseconds. It is read at every hit, and must never go back.
	Now func() int64
}

// Group is one process's part of the cluster's cache: what it owns, copies of what others own, and the ring.
type Group struct {
	// AsOwner answers for keys that this process owns: requests of peers, and values that they send.
	AsOwner *Owner

	PeerLoads  atomic.Uint64 // values that peers gave
	PeerErrors atomic.Uint64 // keys that a peer did not give

	address string
	main    *store.Store
	hot     *store.Store
	ttl     time.Duration
	now     func() int64
	peers   Peers
	async   asyncRequests

	instance *groupcache.Instance
	group    groupcache.Group

	mu     sync.RWMutex
	picker *peer.Picker

	deduplicated atomic.Uint64 // requests that joined another one to a peer
}

// New returns a group that sends its requests by peers and loads by loader. It has no peers yet.
func New(cfg Config, peers Peers, loader Loader) (*Group, error) {
	hot := cfg.Size / hotShare
	if cfg.Alone {
		hot = 0
	}
	g := &Group{address: cfg.Address, ttl: cfg.TTL, now: cfg.Now, peers: peers}
	var err error
	if g.main, err = store.New(cfg.Size-hot, cfg.Now); err != nil {
		return nil, fmt.Errorf("groupcache.size: %w", err)
	}
	if g.hot, err = store.New(hot, cfg.Now); err != nil {
		g.main.Close()
		return nil, fmt.Errorf("groupcache.size: %w", err)
	}
	g.AsOwner = NewOwner(g.main, loader, cfg.TTL, cfg.Now, cfg.Limits)
	adapters := []*adapter{{store: g.main}, {store: g.hot, keeps: true}}
	g.instance = groupcache.New(groupcache.Options{
		HashFn:    ringHash,
		Replicas:  replicas,
		Transport: &ringTransport{group: g},
		// groupcache makes its main cache first, then the hot one.
		CacheFactory: func(int64) (groupcache.Cache, error) {
			next := adapters[0]
			adapters = adapters[1:]
			return next, nil
		},
	})
	if err := g.SetPeers(nil); err != nil {
		return nil, err
	}
	g.group, err = g.instance.NewGroup("objects", max(cfg.Size, 1), groupcache.GetterFunc(g.load))
	return g, err
}

// SetPeers makes a ring of the other owners' addresses, and of this process's own if it has one.
func (g *Group) SetPeers(addresses []string) error {
	picker := peer.NewPicker(peer.Options{HashFn: ringHash, Replicas: replicas})
	infos := []peer.Info{{Address: g.address, IsSelf: true}}
	if g.address != "" {
		picker.Add(&peer.NoOpClient{Info: infos[0]})
	}
	for _, a := range addresses {
		if a == g.address {
			// An earlier process at this address is not known to have ended yet. On the ring it would replace this one.
			continue
		}
		info := peer.Info{Address: a}
		infos = append(infos, info)
		picker.Add(&peer.NoOpClient{Info: info})
	}
	if err := g.instance.SetPeers(context.Background(), infos); err != nil {
		return err
	}
	g.mu.Lock()
	g.picker = picker
	g.mu.Unlock()
	return nil
}

// Owner returns the address of a key's owner, or "" if that is this process.
func (g *Group) Owner(key []byte) string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	client, remote := g.picker.PickPeer(VersionedKey{Key: key}.ringKey())
	if !remote {
		return ""
	}
	return client.HashKey()
}

// Lookup copies a value from this process's memory into buf and returns its length n, its expiry and its source, which
// is [Nowhere] on a miss. If n is more than len(buf), nothing was copied.
func (g *Group) Lookup(key VersionedKey, buf []byte) (n int, expires int64, source Source) {
	if n, expires, ok := g.main.GetInto(key.Key, key.Version, buf); ok {
		return n, expires, Own
	}
	if n, expires, ok := g.hot.GetInto(key.Key, key.Version, buf); ok {
		return n, expires, Hot
	}
	return 0, 0, Nowhere
}

// Has reports whether a value is in this process's memory. It does not count as a use of it.
func (g *Group) Has(key VersionedKey) bool {
	return g.main.Has(key.Key, key.Version) || g.hot.Has(key.Key, key.Version)
}

// Get returns a result for each of keys, in order. This is how a key is read:
//
//  1. From memory. The main store has what this process owns, the hot store copies of what others own.
//  2. From the owner, which the ring names. If that is this process, the read joins a load of the same versioned key
//     that is under way, or else loads the key from the database and stores it in main ([Owner.Serve]). If it is a
//     peer, it gets a request and answers from its memory or by a load; it never passes a request on. Its answer goes
//     into the hot store.
//  3. From the database, if that peer failed: the key is loaded here, as if this process were its owner. A failing peer
//     costs a load, not an error.
//
// A read that misses one key goes through groupcache, which joins concurrent reads of that key into one. A read that
// misses several does not, because groupcache would send one request per key: each owner gets one request for all of
// its keys. Nor does a read in a process without an address, which groupcache would take for an owner.
func (g *Group) Get(ctx context.Context, keys []VersionedKey) []Result {
	results := make([]Result, len(keys))
	var missing []int
	for i, key := range keys {
		var ok bool
		if results[i], ok = g.fromMemory(key); !ok {
			missing = append(missing, i)
		}
	}
	switch {
	case len(missing) == 1 && g.address != "":
		results[missing[0]] = g.getOne(ctx, keys[missing[0]])
	case len(missing) > 0:
		g.getMany(ctx, keys, missing, results)
	}
	return results
}

// fromMemory returns a value from the main or the hot store. groupcache would look there too, but not say in which of
// the two it was.
func (g *Group) fromMemory(key VersionedKey) (Result, bool) {
	if value, expires, ok := g.main.Get(key.Key, key.Version, nil); ok {
		return Result{Value: value, Source: Own, Expires: expires}, true
	}
	if value, expires, ok := g.hot.Get(key.Key, key.Version, nil); ok {
		return Result{Value: value, Source: Hot, Expires: expires}, true
	}
	return Result{}, false
}

// sourceKey is the context key under which a read through groupcache passes a *Source to the code that does the work.
// A read that joined another one finds it unset.
type sourceKey struct{}

// reportSource sets the source of the read whose context ctx is, if it wants to know.
func reportSource(ctx context.Context, source Source) {
	if p, ok := ctx.Value(sourceKey{}).(*Source); ok {
		*p = source
	}
}

// getOne reads a key through groupcache.
func (g *Group) getOne(ctx context.Context, key VersionedKey) Result {
	var source Source
	var value []byte
	begun, sink := g.now(), transport.AllocatingByteSliceSink(&value)
	if err := g.group.Get(context.WithValue(ctx, sourceKey{}, &source), key.ringKey(), sink); err != nil {
		return Result{Err: err}
	}
	view, err := sink.View()
	if err != nil {
		return Result{Err: err}
	}
	expires := fromTime(view.Expire())
	if source == Nowhere {
		if expires <= begun {
			// It joined a read so old that the value had expired before this one began. groupcache does not check that.
			return g.fetch(ctx, g.Owner(key.Key), []VersionedKey{key})[0]
		}
		g.deduplicated.Add(1)
		source = Deduplicated
	}
	return Result{Value: value, Source: source, Expires: expires}
}

// load is groupcache's getter. groupcache calls it if this process owns the key or the owner could not answer.
func (g *Group) load(ctx context.Context, ringKey string, dest transport.Sink) error {
	key, ok := parseRingKey(ringKey)
	if !ok {
		return errNoKey
	}
	r := g.AsOwner.Get(ctx, []VersionedKey{key})[0]
	if r.Err != nil {
		return r.Err
	}
	reportSource(ctx, r.Source)
	return dest.SetBytes(r.Value, toTime(r.Expires))
}

// Put stores at the owner of its key a value that event has written, and that the database held at from or later (R8).
func (g *Group) Put(event uint64, key VersionedKey, value []byte, from int64) {
	if owner := g.Owner(key.Key); owner != "" {
		g.peers.Put(owner, event, key, value, expiry(from, g.ttl))
		return
	}
	g.AsOwner.Keep(key, value, from, Never)
}

// Stats returns those of the main and of the hot store.
func (g *Group) Stats() (main, hot store.Stats) { return g.main.Stats(), g.hot.Stats() }

// Loads returns how many keys were loaded from the database here, how many requests joined another one instead, and how
// many loads failed.
func (g *Group) Loads() (loaded, deduplicated, failed uint64) {
	return g.AsOwner.Loads.Load(), g.AsOwner.Deduplicated.Load() + g.deduplicated.Load(), g.AsOwner.Failed.Load()
}

// Close ends all loads and returns the memory to the system.
func (g *Group) Close() {
	g.AsOwner.Close()
	g.main.Close()
	g.hot.Close()
}
