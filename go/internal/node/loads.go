package node

import (
	"errors"
	"sync"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
)

// loads is the loads that Python works on.
type loads struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]func([]cache.Result, error)
}

// loader is the node as the cache sees it: the way to the database, through Python.
type loader Node

// errAway refuses a load for a peer: the asker, which reaches the database, loads for itself
// sooner than this process gets no answer, and does not get what another server than the one that
// the members table knows would give.
var errAway = errors.New("node: the database does not answer this process")

var errQueueFull = errors.New("node: Python does not take its work")

func (l *loader) Load(keys [][]byte, done func([]cache.Result, error)) {
	n := (*Node)(l)
	if !n.databasesAnswer(keys) {
		done(nil, errAway)
		return
	}
	n.loads.mu.Lock()
	if n.loads.waiting == nil {
		n.loads.waiting = make(map[uint64]func([]cache.Result, error))
	}
	n.loads.last++
	id := n.loads.last
	n.loads.waiting[id] = done
	n.loads.mu.Unlock()

	var packed []byte
	for _, key := range keys {
		packed = appendBytes(packed, key)
	}
	if !n.queue.Put(bridge.Load, id, packed) {
		n.Loaded(id, nil, errQueueFull)
	}
}

// Loaded takes Python's answer to a load: results in the order of its keys, packed, or the
// reason why there are none.
func (n *Node) Loaded(id uint64, packed []byte, failed error) {
	n.loads.mu.Lock()
	done := n.loads.waiting[id]
	delete(n.loads.waiting, id)
	n.loads.mu.Unlock()
	if done == nil {
		return
	}
	if failed != nil {
		done(nil, failed)
		return
	}
	done(unpackResults(packed))
}
