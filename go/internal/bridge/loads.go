package bridge

import (
	"errors"
	"sync"

	"guillotina_groupcache/internal/cache"
)

// Loads is the cache's way to the database, through Python; see [cache.Loader]. It is safe for
// concurrent use.
type Loads struct {
	queue     *Queue
	reachable func(keys [][]byte) bool

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]func([]cache.Result, error) // by the id of a load that Python works on
}

var (
	// errUnreachable refuses a load. When a peer has asked for it, that peer loads the key itself,
	// sooner than this process would fail, and from the database that the members table knows.
	errUnreachable = errors.New("bridge: the database does not answer this process")
	errQueueFull   = errors.New("bridge: the queue to Python is full")
)

// NewLoads returns the loads that go through a queue. reachable reports whether the databases of all
// keys answer this process.
func NewLoads(queue *Queue, reachable func(keys [][]byte) bool) *Loads {
	return &Loads{queue: queue, reachable: reachable, waiting: make(map[uint64]func([]cache.Result, error))}
}

// Waiting returns how many loads Python works on.
func (l *Loads) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// Load asks Python for keys.
func (l *Loads) Load(keys [][]byte, done func([]cache.Result, error)) {
	if !l.reachable(keys) {
		done(nil, errUnreachable)
		return
	}
	var list []byte
	for _, key := range keys {
		list = AppendElement(list, key)
	}
	l.mu.Lock()
	l.last++
	id := l.last
	l.waiting[id] = done
	l.mu.Unlock()
	if !l.queue.Put(Load, id, list) {
		l.Loaded(id, nil, errQueueFull)
	}
}

// Loaded takes Python's answer to a load: results in the order of its keys, packed, or the reason
// why there are none. The values are parts of packed.
func (l *Loads) Loaded(id uint64, packed []byte, failed error) {
	l.mu.Lock()
	done := l.waiting[id]
	delete(l.waiting, id)
	l.mu.Unlock()
	if done == nil {
		return
	}
	if failed != nil {
		done(nil, failed)
		return
	}
	done(UnpackResults(packed))
}
