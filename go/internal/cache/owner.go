package cache

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"guillotina_groupcache/internal/store"
)

// Errors of a load.
var (
	// ErrOverload says that too many loads are under way. The reader queries the database itself, instead of waiting
	// in memory that grows.
	ErrOverload = errors.New("too many loads are under way")
	// ErrTimeout says that the loader took too long.
	ErrTimeout = errors.New("the load took too long")
	// ErrClosed says that the process is about to end.
	ErrClosed = errors.New("the cache is closed")
)

// A Loader loads keys from the database, in as few queries as it can. It calls done once, from any goroutine, with a
// result for each key, in order, or with an error for all of them. It may fail to call done at all.
type Loader interface {
	Load(keys [][]byte, done func(values []Result, err error))
}

// Owner answers for the keys that this process owns, from memory or by a load that concurrent requests for the same
// versioned key share. It never requests anything from another process, so two processes that disagree about a key's
// owner cannot wait for each other.
type Owner struct {
	store  *store.Store
	loader Loader
	ttl    time.Duration
	now    func() int64
	limits Limits

	mu      sync.Mutex
	closed  bool
	flights map[string]*flight   // by ring key: those that a request may join
	all     map[*flight]struct{} // those, and flights so old that their value will have expired

	Loads        atomic.Uint64 // keys loaded from the database
	Deduplicated atomic.Uint64 // requests that joined a load under way
	Failed       atomic.Uint64 // keys whose load failed
}

// Limits bound the loads of an owner.
type Limits struct {
	Flights     int           // keys being loaded at once
	LoadTimeout time.Duration // of one load
}

// flight is one key's load. Its deadline is its own: a request that gives up leaves the load to those that have joined.
type flight struct {
	key     VersionedKey
	expires int64 // of its value, counted from before the load began
	done    chan struct{}
	once    sync.Once
	result  Result
}

// finish sets the result and wakes the requests that wait for it. Only the first call counts.
func (f *flight) finish(r Result) {
	f.once.Do(func() {
		f.result = r
		close(f.done)
	})
}

// wait returns the flight's result, as one from source unless the store had the value.
func (f *flight) wait(ctx context.Context, source Source) Result {
	select {
	case <-f.done:
		r := f.result
		if r.Err == nil && r.Source != Own {
			r.Source = source
		}
		return r
	case <-ctx.Done():
		return Result{Err: ctx.Err()}
	}
}

// NewOwner returns an owner that keeps values in s for ttl (0: until they are evicted) by the clock now, which must be
// the clock of s.
func NewOwner(s *store.Store, loader Loader, ttl time.Duration, now func() int64, limits Limits) *Owner {
	return &Owner{store: s, loader: loader, ttl: ttl, now: now, limits: limits,
		flights: make(map[string]*flight), all: make(map[*flight]struct{})}
}

// Get returns a result for each of keys, in order. Keys that are neither in the store nor being loaded are loaded
// together.
func (o *Owner) Get(ctx context.Context, keys []VersionedKey) []Result {
	return o.Serve(ctx, keys, math.MaxInt)
}

// ServeNow is Serve for keys that are all in the store: it never waits, and returns false if one of them is not there.
func (o *Owner) ServeNow(keys []VersionedKey, budget int) ([]Result, bool) {
	results := make([]Result, 0, len(keys))
	for _, key := range keys {
		value, expires, ok := o.store.Get(key.Key, key.Version, nil)
		if !ok {
			return nil, false
		}
		results = append(results, Result{Value: value, Source: Own, Expires: expires})
		if budget -= len(value); budget < 0 {
			break
		}
	}
	return results, true
}

// Serve returns results for keys, in order, up to and including the one whose value exceeds the budget, in bytes. The
// peer requests the rest again. They are not copied, because a request may contain the key of one large value many
// times, and not loaded if the values that are in the store exceed the budget before them.
func (o *Owner) Serve(ctx context.Context, keys []VersionedKey, budget int) []Result {
	results := make([]Result, 0, len(keys))
	waits := make([]*flight, len(keys))
	var mine []*flight
	for i, room := 0, budget; i < len(keys) && room >= 0; i++ {
		if value, expires, ok := o.store.Get(keys[i].Key, keys[i].Version, nil); ok {
			results = append(results, Result{Value: value, Source: Own, Expires: expires})
			room -= len(value)
			continue
		}
		f, leads, err := o.join(keys[i])
		r := Result{Source: Deduplicated, Err: err}
		if leads {
			r.Source = Database
			mine = append(mine, f)
		}
		waits[i], results = f, append(results, r)
	}
	o.load(mine)
	for i := range results {
		if waits[i] != nil {
			results[i] = waits[i].wait(ctx, results[i].Source)
		}
		if budget -= len(results[i].Value); budget < 0 {
			return results[:i+1]
		}
	}
	return results
}

// join returns the flight of a key, and whether the caller leads it: then the caller has to load it. It does not join a
// flight whose value will have expired on arrival, because the load takes longer than the TTL.
func (o *Owner) join(key VersionedKey) (f *flight, leads bool, err error) {
	ringKey := key.ringKey()
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	if f = o.flights[ringKey]; f != nil && now < f.expires {
		o.Deduplicated.Add(1)
		return f, false, nil
	}
	if o.closed {
		return nil, false, ErrClosed
	}
	if len(o.all) >= o.limits.Flights {
		return nil, false, ErrOverload
	}
	f = &flight{key: key, expires: expiry(now, o.ttl), done: make(chan struct{})}
	// A flight may have finished since the caller missed the value in the store.
	if value, expires, ok := o.store.Get(key.Key, key.Version, nil); ok {
		f.finish(Result{Value: value, Source: Own, Expires: expires})
		return f, false, nil
	}
	o.flights[ringKey] = f
	o.all[f] = struct{}{}
	return f, true, nil
}

// load loads the keys of flights, and finishes these when the loader answers or its time is over.
func (o *Owner) load(flights []*flight) {
	if len(flights) == 0 {
		return
	}
	keys := make([][]byte, len(flights))
	for i, f := range flights {
		keys[i] = f.key.Key
	}
	var once sync.Once
	finish := func(values []Result, err error) {
		once.Do(func() { o.finish(flights, values, err) })
	}
	timeout := time.AfterFunc(o.limits.LoadTimeout, func() { finish(nil, ErrTimeout) })
	o.loader.Load(keys, func(values []Result, err error) {
		timeout.Stop()
		if err == nil && len(values) != len(flights) {
			err = errors.New("the loader answered for other keys than were requested")
		}
		finish(values, err)
	})
}

// finish stores each value under the version that was requested, never under a later one (R1), and finishes the
// flights.
func (o *Owner) finish(flights []*flight, values []Result, err error) {
	for i, f := range flights {
		r := Result{Err: err}
		if err == nil {
			r.Value, r.Err = values[i].Value, values[i].Err
		}
		if r.Err == nil {
			r.Source = Database // not the loader's word for it: Own would mean that the store had it
			r.Expires = f.expires
			o.Loads.Add(1)
			o.store.Add(f.key.Key, f.key.Version, r.Value, r.Expires)
		} else {
			o.Failed.Add(1)
		}
		o.mu.Lock()
		if ringKey := f.key.ringKey(); o.flights[ringKey] == f {
			delete(o.flights, ringKey)
		}
		delete(o.all, f)
		o.mu.Unlock()
		f.finish(r)
	}
}

// Keep stores a value that the database held at from or later. It expires at expires, or earlier by this process's TTL.
func (o *Owner) Keep(key VersionedKey, value []byte, from, expires int64) {
	o.store.Add(key.Key, key.Version, value, min(expires, expiry(from, o.ttl)))
}

// Close ends every load with [ErrClosed].
func (o *Owner) Close() {
	o.mu.Lock()
	o.closed = true
	flights := o.all
	o.flights, o.all = make(map[string]*flight), make(map[*flight]struct{})
	o.mu.Unlock()
	for f := range flights {
		f.finish(Result{Err: ErrClosed})
	}
}
