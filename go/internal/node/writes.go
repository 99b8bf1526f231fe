package node

import (
	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// Announce makes an event over keys, packed, or all, of a transaction of database that has
// written and not yet committed, and returns its number. [bridge.Passed] with it tells
// when COMMIT may be sent.
func (n *Node) Announce(database string, packed []byte, all bool) (uint64, error) {
	keys, err := unpackKeys(packed)
	if err != nil {
		return 0, err
	}
	buckets := make([]uint32, len(keys))
	for i, key := range keys {
		buckets[i] = n.table.Bucket(cache.Hash(key))
	}
	var id coherence.EventID
	n.input(func(m *coherence.Machine, now coherence.Time) {
		id, err = m.Announce(now, database, all, buckets)
	})
	return id.Sequence, err
}

// Settle ends an event after the answer to COMMIT or ROLLBACK. pushes, keys and values by
// turns, packed, are what the transaction has written: each is given to its owner under the
// name that it has after the settlement, unless another event touched it meanwhile (R8), or its
// database does not answer any more (R13). The event is settled (R9) also when the pushes are
// malformed, which is the error.
func (n *Node) Settle(sequence uint64, pushes []byte) error {
	elements, err := unpackKeys(pushes)
	if err != nil || len(elements)%2 != 0 {
		elements, err = nil, errPacked
	}
	var names []cache.VersionedKey
	var values [][]byte
	id := coherence.EventID{Writer: n.incarnation, Sequence: sequence}
	var from coherence.Time
	n.input(func(m *coherence.Machine, now coherence.Time) {
		// The life of what was written begins before COMMIT: another one may have written over it as
		// soon as that had taken effect.
		from, _ = m.Since(id)
		pushable := make(map[uint32]bool)
		for _, bucket := range m.Settle(now, id) {
			pushable[bucket] = true
		}
		for i := 0; i < len(elements); i += 2 {
			name, ok := n.name(elements[i])
			if ok && pushable[n.table.Bucket(cache.Hash(elements[i]))] {
				names = append(names, name)
				values = append(values, elements[i+1])
			}
		}
	})
	for i, name := range names {
		n.group.Put(sequence, name, values[i], int64(from))
	}
	n.counts.pushed.Add(uint64(len(names)))
	return err
}

// Lost tells that the answer to an event's COMMIT was lost (R9).
func (n *Node) Lost(sequence uint64) {
	n.input(func(m *coherence.Machine, _ coherence.Time) {
		m.Lost(coherence.EventID{Writer: n.incarnation, Sequence: sequence})
	})
}
