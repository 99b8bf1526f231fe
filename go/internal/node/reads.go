package node

import (
	"bytes"
	"context"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// Status of a lookup, when it gives no value.
const (
	// Miss is a key whose value is not in this process: [Node.Read] gets it.
	Miss = -1
	// Bypass is a key that must be read from the database: the process is not in
	// standing, or the key's bucket is in doubt.
	Bypass = -2
)

// Found tells of a value that was looked up where it was, and what it takes to see later,
// without a call, that it may still be used: the version that [coherence.TableHeader] words
// of the table's header and the bucket's word show, before the deadline in the word of its
// database, and before it expires by this node's clock, which for [cache.Never] it does not.
type Found struct {
	Source   cache.Source
	Version  uint64
	Bucket   uint32
	Expires  coherence.Time
	Deadline int // the word of the table
}

// Get copies the value of a key from this process's memory into buf and returns its length. A
// length over len(buf) means that nothing was copied: come again with a larger buffer.
// Otherwise it returns [Bypass], or [Miss]: then it also begins to read the key under the id
// request, as [Node.Read] does, unless that is 0.
func (n *Node) Get(request uint64, key, buf []byte) (int, Found) {
	n.counts.gets.Add(1)
	name, ok := n.name(key)
	if !ok {
		n.counts.bypasses.Add(1)
		return Bypass, Found{}
	}
	size, expires, source := n.group.Lookup(name, buf)
	if source == cache.Nowhere {
		if request != 0 {
			name.Key = bytes.Clone(key)
			n.readOne(request, name)
		}
		return Miss, Found{}
	}
	n.counts.from(source)
	database, _ := n.databases.of(key)
	return size, Found{source, name.Version, n.table.Bucket(cache.Hash(key)), coherence.Time(expires),
		coherence.DeadlineWord(database)}
}

// name gives a key the name that it has now, if it may be served. The order is R2's.
func (n *Node) name(key []byte) (cache.VersionedKey, bool) {
	database, known := n.databases.of(key)
	if !known {
		return cache.VersionedKey{}, false
	}
	deadline := n.table.DatabaseDeadline(database)
	version, settled := n.table.Version(n.table.Bucket(cache.Hash(key)))
	if !settled || now() >= deadline {
		return cache.VersionedKey{}, false
	}
	return cache.VersionedKey{Key: key, Version: version}, true
}

// Version returns the version that a key has now. It is false while the key must be read from
// the database. As long as the same version is returned, no event of any member over the key's
// bucket has come between (R3): each would have brought the bucket into doubt here before its
// COMMIT, and settled under another version.
func (n *Node) Version(key []byte) (version uint64, ok bool) {
	name, ok := n.name(key)
	return name.Version, ok
}

// Read gets keys, packed, wherever they are, and puts the answer into the queue under the id
// request: a result for each, in order. One with source [cache.Nowhere] must be read from
// the database by the asker.
func (n *Node) Read(request uint64, packed []byte) error {
	keys, err := unpackKeys(append([]byte(nil), packed...))
	if err != nil {
		return err
	}
	results := make([]cache.Result, len(keys))
	names := make([]cache.VersionedKey, 0, len(keys))
	at := make([]int, 0, len(keys))
	for i, key := range keys {
		if name, ok := n.name(key); ok {
			names, at = append(names, name), append(at, i)
		}
	}
	n.counts.bypasses.Add(uint64(len(keys) - len(names)))
	if len(keys) == 1 && len(names) == 1 {
		n.readOne(request, names[0])
	} else {
		n.readMany(request, names, at, results)
	}
	return nil
}

// readOne gets a name wherever it is: from its owner without a goroutine, if that can be asked
// at once.
func (n *Node) readOne(request uint64, name cache.VersionedKey) {
	if !n.readSoon(request, name) {
		n.readMany(request, []cache.VersionedKey{name}, []int{0}, make([]cache.Result, 1))
	}
}

func (n *Node) readSoon(request uint64, name cache.VersionedKey) bool {
	if n.reads.Add(1) > maxReads {
		n.reads.Add(-1)
		return false
	}
	asked := n.group.GetAsync(name, func(r cache.Result) {
		n.reads.Add(-1)
		if r.Err != nil {
			n.readMany(request, []cache.VersionedKey{name}, []int{0}, make([]cache.Result, 1))
			return
		}
		n.counts.from(r.Source)
		n.answerRead(request, []cache.Result{r})
	})
	if !asked {
		n.reads.Add(-1)
	}
	return asked
}

// readMany gets names wherever they are; at are their places among the results.
func (n *Node) readMany(request uint64, names []cache.VersionedKey, at []int, results []cache.Result) {
	asked := len(names) > 0 && n.work(func(ctx context.Context) {
		for j, r := range n.group.Get(ctx, names) {
			n.counts.from(r.Source)
			results[at[j]] = r
		}
		n.answerRead(request, results)
	})
	if !asked {
		n.counts.bypasses.Add(uint64(len(names)))
		n.answerRead(request, results)
	}
}

// Warm gets keys, packed, into this process's memory for reads that follow one by one. It is
// true when an empty answer to request will tell that they are there; false: they are, or
// cannot be got now.
//
// Nothing is promised of what was warmed: each read that follows checks for itself.
func (n *Node) Warm(request uint64, packed []byte) (bool, error) {
	keys, err := unpackKeys(append([]byte(nil), packed...))
	if err != nil {
		return false, err
	}
	var names []cache.VersionedKey
	for _, key := range keys {
		if name, ok := n.name(key); ok && !n.group.Has(name) {
			names = append(names, name)
		}
	}
	return len(names) > 0 && n.work(func(ctx context.Context) {
		for _, r := range n.group.Get(ctx, names) {
			n.counts.from(r.Source)
		}
		n.tell(bridge.Values, request, nil)
	}), nil
}

// work runs f, which may wait, on a goroutine of its own and under a deadline. It is false
// when too much is under way already: the asker then reads the database, rather than all wait
// in ever more memory.
func (n *Node) work(f func(ctx context.Context)) bool {
	if n.reads.Add(1) > maxReads {
		n.reads.Add(-1)
		return false
	}
	n.wg.Go(func() {
		defer n.reads.Add(-1)
		ctx, cancel := context.WithTimeout(n.life, loadTimeout)
		defer cancel()
		n.guarded(func() { f(ctx) })
	})
	return true
}

func (n *Node) answerRead(request uint64, results []cache.Result) {
	size := 0
	for _, r := range results {
		size += 1 + 4 + len(r.Value)
	}
	if !n.queue.Put(bridge.Values, request, packResults(results, size)) {
		// Without the values it has room, now or soon; the asker reads the database.
		n.tell(bridge.Values, request, packResults(make([]cache.Result, len(results)), size))
	}
}
