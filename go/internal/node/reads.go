package node

import (
	"bytes"
	"context"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// Results of a lookup that gives no value.
const (
	// Miss is a key whose value is not in this process: [Node.Read] gets it.
	Miss = -1 - iota
	// Bypass is a key that must be read from the database: the process is bypassing, or the key's
	// bucket is in doubt.
	Bypass
	noValues = iota // how many there are
)

// Found says where a value was found and what a caller needs to revalidate it without another call:
// it may be used while epoch and bucket show the version, before the deadline in the word of its
// database, and before it expires by this node's clock. [cache.Never] is no expiry.
type Found struct {
	Source   cache.Source
	Version  uint64
	Bucket   uint32
	Expires  coherence.Time
	Deadline int // a word of the version table
}

// Get copies the value of a key from this process's memory into buf and returns its length. A length
// over len(buf) means that nothing was copied and that the caller needs a larger buffer. Without a
// value it returns [Bypass] or [Miss]; a miss also begins a read under the id request, as
// [Node.Read] does, unless that is 0.
func (n *Node) Get(request uint64, key, buf []byte) (int, Found) {
	n.counts.gets.Add(1)
	versioned, ok := n.Databases.Version(key)
	if !ok {
		n.counts.bypasses.Add(1)
		return Bypass, Found{}
	}
	size, expires, source := n.group.Lookup(versioned, buf)
	if source == cache.Nowhere {
		if request != 0 {
			versioned.Key = bytes.Clone(key)
			n.readOne(request, versioned)
		}
		return Miss, Found{}
	}
	n.counts.from(source)
	number, _ := n.Databases.of(key)
	return size, Found{source, versioned.Version, n.Databases.bucket(key), coherence.Time(expires),
		coherence.DeadlineWord(number)}
}

// Read gets a list of keys, from memory, from their owners, or from the database. A completion of kind
// [bridge.Values] with the id request has a result for each, in order; one with source
// [cache.Nowhere] must be read from the database by the caller.
func (n *Node) Read(request uint64, list []byte) error {
	all, err := bridge.UnpackList(bytes.Clone(list))
	if err != nil {
		return err
	}
	results := make([]cache.Result, len(all))
	keys := make([]cache.VersionedKey, 0, len(all))
	at := make([]int, 0, len(all))
	for i, key := range all {
		if versioned, ok := n.Databases.Version(key); ok {
			keys, at = append(keys, versioned), append(at, i)
		}
	}
	n.counts.bypasses.Add(uint64(len(all) - len(keys)))
	if len(all) == 1 && len(keys) == 1 {
		n.readOne(request, keys[0])
	} else {
		n.readMany(request, keys, at, results)
	}
	return nil
}

// readOne reads one key: from its owner without a goroutine, if the owner can be asked at once.
func (n *Node) readOne(request uint64, key cache.VersionedKey) {
	if !n.readAsync(request, key) {
		n.readMany(request, []cache.VersionedKey{key}, []int{0}, make([]cache.Result, 1))
	}
}

// readAsync asks the owner of a key; it is false where there is no other owner to ask now.
func (n *Node) readAsync(request uint64, key cache.VersionedKey) bool {
	if !n.tasks.enter() {
		return false
	}
	asked := n.group.GetAsync(key, func(r cache.Result) {
		n.tasks.leave()
		if r.Err != nil {
			n.readMany(request, []cache.VersionedKey{key}, []int{0}, make([]cache.Result, 1))
			return
		}
		n.counts.from(r.Source)
		n.Queue.DeliverResults(request, []cache.Result{r})
	})
	if !asked {
		n.tasks.leave()
	}
	return asked
}

// readMany reads keys on a goroutine; at are their places among the results.
func (n *Node) readMany(request uint64, keys []cache.VersionedKey, at []int, results []cache.Result) {
	started := len(keys) > 0 && n.tasks.run(func(ctx context.Context) {
		for j, r := range n.group.Get(ctx, keys) {
			n.counts.from(r.Source)
			results[at[j]] = r
		}
		n.Queue.DeliverResults(request, results)
	})
	if !started {
		n.counts.bypasses.Add(uint64(len(keys)))
		n.Queue.DeliverResults(request, results)
	}
}

// Warm gets a list of keys into this process's memory, for reads that follow one by one. It is true
// when an empty completion of kind [bridge.Values] will say that they are there; false: they are
// there, or cannot be got now. Each read that follows checks its key for itself.
func (n *Node) Warm(request uint64, list []byte) (bool, error) {
	all, err := bridge.UnpackList(bytes.Clone(list))
	if err != nil {
		return false, err
	}
	var keys []cache.VersionedKey
	for _, key := range all {
		if versioned, ok := n.Databases.Version(key); ok && !n.group.Has(versioned) {
			keys = append(keys, versioned)
		}
	}
	return len(keys) > 0 && n.tasks.run(func(ctx context.Context) {
		for _, r := range n.group.Get(ctx, keys) {
			n.counts.from(r.Source)
		}
		n.Queue.Deliver(bridge.Values, request, nil)
	}), nil
}
