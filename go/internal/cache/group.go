// Package cache keeps the values that this process owns or mirrors, and gets those it lacks.
package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcache/groupcache-go/v3"
	"github.com/groupcache/groupcache-go/v3/transport"
	"github.com/groupcache/groupcache-go/v3/transport/peer"

	"guillotina_groupcache/internal/store"
)

// replicas is the number of points a peer has on the ring: with 256 the largest share is
// about a tenth above the mean.
const replicas = 256

// hotShare is the part of the bytes that copies of others' values get, as in groupcache: the
// more is copied, the fewer different values the cluster holds.
const hotShare = 8

// Peers asks the processes that own names for their values.
type Peers interface {
	// Get asks the process at an address. It answers with a result for each name, in order,
	// whose expiry is counted from before the question.
	Get(ctx context.Context, address string, names []VersionedKey) ([]Result, error)
	// Fetcher returns how to ask the process at an address for one name without waiting: done
	// is called once, from any goroutine. It is nil when nobody can be asked there now.
	Fetcher(address string) func(name VersionedKey, done func(Result))
	// Put gives a value that event has written, and that ends at expires, to the owner of its
	// name, without waiting.
	Put(address string, event uint64, name VersionedKey, value []byte, expires int64)
}

// Config of a group.
type Config struct {
	Address string // on the ring; "": a client or a process alone, which is no point of it
	Alone   bool   // there will be no peers, so no copies of their values either
	Size    int64  // bytes, main and hot store together
	TTL     time.Duration
	Limits  Limits
	// Now is the clock of every expiry, in nanoseconds. It is read at every hit.
	Now func() int64
}

// Group is the cache of this process as part of the cluster's: what it owns, copies of what
// others own, and the ring that tells who owns what. groupcache brings the ring, one load for
// all who ask here at once, and the hot copies.
type Group struct {
	address string
	main    *store.Store
	hot     *store.Store
	ttl     time.Duration
	now     func() int64
	AsOwner   *Owner
	peers   Peers
	soon    soon

	instance *groupcache.Instance
	group    groupcache.Group

	mu     sync.RWMutex
	picker *peer.Picker

	PeerLoads  atomic.Uint64 // values got from peers
	PeerErrors atomic.Uint64 // names that a peer was asked for in vain
	deduplicated     atomic.Uint64 // requests that waited for another one's, here
}

// New returns a group that asks peers and loads with loader.
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
	views := []*view{{store: g.main}, {store: g.hot, keep: true}}
	g.instance = groupcache.New(groupcache.Options{
		HashFn:    ringHash,
		Replicas:  replicas,
		Transport: &ringTransport{group: g},
		// groupcache asks for the main cache first, then for the hot one.
		CacheFactory: func(int64) (groupcache.Cache, error) {
			next := views[0]
			views = views[1:]
			return next, nil
		},
	})
	if err := g.SetPeers(nil); err != nil {
		return nil, err
	}
	g.group, err = g.instance.NewGroup("objects", max(cfg.Size, 1), groupcache.GetterFunc(g.load))
	return g, err
}

// SetPeers makes a ring of the addresses of the other owners, and this process if it has one.
func (g *Group) SetPeers(addresses []string) error {
	picker := peer.NewPicker(peer.Options{HashFn: ringHash, Replicas: replicas})
	infos := []peer.Info{{Address: g.address, IsSelf: true}}
	if g.address != "" {
		picker.Add(&peer.NoOpClient{Info: infos[0]})
	}
	for _, a := range addresses {
		if a == g.address {
			// The row of an earlier process at this address, until it is known to have ended:
			// on the ring it would take this process's place.
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

// Owner returns the address of a key's owner; "" is this process.
func (g *Group) Owner(key []byte) string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	client, remote := g.picker.PickPeer(VersionedKey{Key: key}.ringKey())
	if !remote {
		return ""
	}
	return client.HashKey()
}

// Lookup copies a value from the own stores into buf. n is its length: more than len(buf)
// means that nothing was copied. The source is [Nowhere] when it is not there.
func (g *Group) Lookup(name VersionedKey, buf []byte) (n int, expires int64, source Source) {
	if n, expires, ok := g.main.GetInto(name.Key, name.Version, buf); ok {
		return n, expires, Own
	}
	if n, expires, ok := g.hot.GetInto(name.Key, name.Version, buf); ok {
		return n, expires, Hot
	}
	return 0, 0, Nowhere
}

// Has tells whether a value is in the own stores, without using it.
func (g *Group) Has(name VersionedKey) bool {
	return g.main.Has(name.Key, name.Version) || g.hot.Has(name.Key, name.Version)
}

// Get answers names in order: from memory, from their owners, of which each is asked once, or
// from the database.
func (g *Group) Get(ctx context.Context, names []VersionedKey) []Result {
	results := make([]Result, len(names))
	var missing []int
	for i, name := range names {
		var ok bool
		if results[i], ok = g.fromMemory(name); !ok {
			missing = append(missing, i)
		}
	}
	switch {
	case len(missing) == 1 && g.address != "":
		results[missing[0]] = g.getOne(ctx, names[missing[0]])
	case len(missing) > 0:
		g.getMany(ctx, names, missing, results)
	}
	return results
}

// fromMemory looks into the own stores. groupcache does so too, but does not tell which it was.
func (g *Group) fromMemory(name VersionedKey) (Result, bool) {
	if value, expires, ok := g.main.Get(name.Key, name.Version, nil); ok {
		return Result{Value: value, Source: Own, Expires: expires}, true
	}
	if value, expires, ok := g.hot.Get(name.Key, name.Version, nil); ok {
		return Result{Value: value, Source: Hot, Expires: expires}, true
	}
	return Result{}, false
}

// trace carries where a value came from out of groupcache: only who does the work writes it.
type trace struct{ source Source }

type traceKey struct{}

func (g *Group) getOne(ctx context.Context, name VersionedKey) Result {
	var t trace
	var value []byte
	begun, sink := g.now(), transport.AllocatingByteSliceSink(&value)
	err := g.group.Get(context.WithValue(ctx, traceKey{}, &t), name.ringKey(), sink)
	if err != nil {
		return Result{Err: err}
	}
	view, err := sink.View()
	if err != nil {
		return Result{Err: err}
	}
	expires := fromWall(view.Expire())
	if t.source == Nowhere {
		if expires <= begun {
			// It was shared by one who began so early that its value had ended before this
			// request began: groupcache does not know of that.
			return g.ask(ctx, g.Owner(name.Key), []VersionedKey{name})[0]
		}
		g.deduplicated.Add(1)
		t.source = Deduplicated
	}
	return Result{Value: value, Source: t.source, Expires: expires}
}

// load is groupcache's getter: the name is this process's, or its owner could not answer.
func (g *Group) load(ctx context.Context, key string, dest transport.Sink) error {
	name, ok := parseRingKey(key)
	if !ok {
		return errors.New("cache: not a name")
	}
	r := g.AsOwner.Get(ctx, []VersionedKey{name})[0]
	if r.Err != nil {
		return r.Err
	}
	if t, ok := ctx.Value(traceKey{}).(*trace); ok {
		t.source = r.Source
	}
	return dest.SetBytes(r.Value, toWall(r.Expires))
}

// Put stores a value at the owner of its name that event has written, and that the database
// held at from, or later (R8).
func (g *Group) Put(event uint64, name VersionedKey, value []byte, from int64) {
	if owner := g.Owner(name.Key); owner != "" {
		g.peers.Put(owner, event, name, value, expiry(from, g.ttl))
		return
	}
	g.AsOwner.Keep(name, value, from, Never)
}

// Stats of the main and the hot store.
func (g *Group) Stats() (main, hot store.Stats) { return g.main.Stats(), g.hot.Stats() }

// Loads tells how many keys were loaded from the database here, how many requests shared a
// load, and how many loads failed.
func (g *Group) Loads() (loaded, shared, failed uint64) {
	return g.AsOwner.Loads.Load(), g.AsOwner.Deduplicated.Load() + g.deduplicated.Load(), g.AsOwner.Failed.Load()
}

// Close ends all loads and gives the memory back.
func (g *Group) Close() {
	g.AsOwner.Close()
	g.main.Close()
	g.hot.Close()
}
