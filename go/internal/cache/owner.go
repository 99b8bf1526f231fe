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
	// ErrOverload is the answer when too many loads are under way: the asker goes to the
	// database by itself rather than wait in ever more memory.
	ErrOverload = errors.New("too many loads are under way")
	// ErrTimeout is the answer when the loader took too long.
	ErrTimeout = errors.New("the load took too long")
	// ErrClosed is the answer when the process is about to end.
	ErrClosed = errors.New("the cache is closed")
)

// A Loader loads keys from the database, all in as few queries as it can. It calls done once
// with a result for each key, in order, or with an error for them all; from any goroutine,
// and possibly never.
type Loader interface {
	Load(keys [][]byte, done func(values []Result, err error))
}

// Owner answers for the keys that this process owns, from memory or by a load that all who
// ask for the same name share. It never asks another process, so that two that differ about
// who owns a key cannot wait for each other.
type Owner struct {
	store  *store.Store
	loader Loader
	ttl    time.Duration
	now    func() int64
	limits Limits

	mu      sync.Mutex
	closed  bool
	flights map[string]*flight   // by ring key, those that others may share
	all     map[*flight]struct{} // these, and those that have outlived their value

	Loads  atomic.Uint64 // keys loaded from the database
	Deduplicated atomic.Uint64 // requests that waited for a load under way
	Failed atomic.Uint64 // keys whose load failed
}

// Limits bound what an owner does at once.
type Limits struct {
	Flights     int           // loads under way
	LoadTimeout time.Duration // of one load
}

// flight is one load, under a deadline of its own: who gives up waiting for it leaves it to
// the others.
type flight struct {
	name    VersionedKey
	expires int64 // of its value, counted from before the load began
	done    chan struct{}
	once    sync.Once
	result  Result
}

func (f *flight) land(r Result) {
	f.once.Do(func() {
		f.result = r
		close(f.done)
	})
}

// NewOwner returns an owner that keeps values in s, for ttl (0: until they are evicted), by
// the clock now, which is the store's.
func NewOwner(s *store.Store, loader Loader, ttl time.Duration, now func() int64, limits Limits) *Owner {
	return &Owner{store: s, loader: loader, ttl: ttl, now: now, limits: limits,
		flights: make(map[string]*flight), all: make(map[*flight]struct{})}
}

// Get answers names in order. What is not in the store and not being loaded is loaded at once.
func (o *Owner) Get(ctx context.Context, names []VersionedKey) []Result {
	return o.Serve(ctx, names, math.MaxInt)
}

// ServeNow answers names in order, until the values exceed budget bytes, if all of these are in
// the store. What goes past the budget is not even copied: its asker comes again for it.
func (o *Owner) ServeNow(names []VersionedKey, budget int) ([]Result, bool) {
	results := make([]Result, 0, len(names))
	for _, name := range names {
		value, expires, ok := o.store.Get(name.Key, name.Version, nil)
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

// Serve answers names in order, until the values exceed budget bytes: what goes past it is not even
// copied, as a request may name one large value many times. What is not in the store and not being
// loaded is loaded at once, up to where what is in the store exceeds the budget.
func (o *Owner) Serve(ctx context.Context, names []VersionedKey, budget int) []Result {
	results := make([]Result, 0, len(names))
	waits := make([]*flight, len(names))
	var mine []*flight
	for i, room := 0, budget; i < len(names) && room >= 0; i++ {
		if value, expires, ok := o.store.Get(names[i].Key, names[i].Version, nil); ok {
			results = append(results, Result{Value: value, Source: Own, Expires: expires})
			room -= len(value)
			continue
		}
		f, leads, err := o.join(names[i])
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

// join returns the flight of a name, and whether the caller has to load it. A flight whose value
// will have ended when it comes, as the load takes longer than the ttl, is left to those who
// joined it in time.
func (o *Owner) join(name VersionedKey) (f *flight, leads bool, err error) {
	key := name.ringKey()
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	if f = o.flights[key]; f != nil && now < f.expires {
		o.Deduplicated.Add(1)
		return f, false, nil
	}
	if o.closed {
		return nil, false, ErrClosed
	}
	if len(o.all) >= o.limits.Flights {
		return nil, false, ErrOverload
	}
	f = &flight{name: name, expires: expiry(now, o.ttl), done: make(chan struct{})}
	// Between the caller's look into the store and now the value may have landed.
	if value, expires, ok := o.store.Get(name.Key, name.Version, nil); ok {
		f.land(Result{Value: value, Source: Own, Expires: expires})
		return f, false, nil
	}
	o.flights[key] = f
	o.all[f] = struct{}{}
	return f, true, nil
}

func (o *Owner) load(flights []*flight) {
	if len(flights) == 0 {
		return
	}
	keys := make([][]byte, len(flights))
	for i, f := range flights {
		keys[i] = f.name.Key
	}
	var once sync.Once
	finish := func(values []Result, err error) {
		once.Do(func() { o.finish(flights, values, err) })
	}
	late := time.AfterFunc(o.limits.LoadTimeout, func() { finish(nil, ErrTimeout) })
	o.loader.Load(keys, func(values []Result, err error) {
		late.Stop()
		if err == nil && len(values) != len(flights) {
			err = errors.New("the loader answered for other keys than it was asked for")
		}
		finish(values, err)
	})
}

// finish stores what was loaded under the name that was asked for, never a later one (R1),
// and wakes who waits.
func (o *Owner) finish(flights []*flight, values []Result, err error) {
	for i, f := range flights {
		r := Result{Err: err}
		if err == nil {
			r.Value, r.Err = values[i].Value, values[i].Err
		}
		if r.Err == nil {
			r.Source = Database // whatever the loader says: Own would mean the store
			r.Expires = f.expires
			o.Loads.Add(1)
			o.store.Add(f.name.Key, f.name.Version, r.Value, r.Expires)
		} else {
			o.Failed.Add(1)
		}
		o.mu.Lock()
		if key := f.name.ringKey(); o.flights[key] == f {
			delete(o.flights, key)
		}
		delete(o.all, f)
		o.mu.Unlock()
		f.land(r)
	}
}

// Keep stores a value under its name that the database held at from, or later, until expires at
// the latest.
func (o *Owner) Keep(name VersionedKey, value []byte, from, expires int64) {
	o.store.Add(name.Key, name.Version, value, min(expires, expiry(from, o.ttl)))
}

// Close ends every load with [ErrClosed].
func (o *Owner) Close() {
	o.mu.Lock()
	o.closed = true
	flights := o.all
	o.flights, o.all = make(map[string]*flight), make(map[*flight]struct{})
	o.mu.Unlock()
	for f := range flights {
		f.land(Result{Err: ErrClosed})
	}
}
