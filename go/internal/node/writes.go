package node

import (
	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// Announce announces an event of a transaction of database that has written and not yet committed:
// over a list of keys, or over everything. It returns the event's number. A completion of kind
// [bridge.Cleared] with that number says that COMMIT may be sent.
func (n *Node) Announce(database string, list []byte, all bool) (uint64, error) {
	keys, err := bridge.UnpackList(list)
	if err != nil {
		return 0, err
	}
	buckets := make([]uint32, len(keys))
	for i, key := range keys {
		buckets[i] = n.Databases.bucket(key)
	}
	var id coherence.EventID
	n.driver.Input(func(m *coherence.Machine, now coherence.Time) {
		id, err = m.Announce(now, database, all, buckets)
	})
	return id.Sequence, err
}

// Settle ends an event after the answer to COMMIT or ROLLBACK. pushes is a list of the keys that the
// transaction has written, each followed by its value. Each value goes to the key's owner under the
// version after the settlement, unless another event touched the bucket meanwhile (R8) or its
// database does not answer any more (R13). Malformed pushes are an error, but the event is settled
// (R9).
func (n *Node) Settle(sequence uint64, pushes []byte) error {
	elements, err := bridge.UnpackList(pushes)
	if err != nil || len(elements)%2 != 0 {
		elements, err = nil, bridge.ErrMalformed
	}
	var keys []cache.VersionedKey
	var values [][]byte
	id := coherence.EventID{Writer: n.mesh.Incarnation, Sequence: sequence}
	var from coherence.Time
	n.driver.Input(func(m *coherence.Machine, now coherence.Time) {
		// A pushed value lives from before COMMIT: another transaction may have overwritten it as soon
		// as COMMIT had taken effect.
		from, _ = m.Since(id)
		pushable := make(map[uint32]bool)
		for _, bucket := range m.Settle(now, id) {
			pushable[bucket] = true
		}
		for i := 0; i < len(elements); i += 2 {
			key, ok := n.Databases.Version(elements[i])
			if ok && pushable[n.Databases.bucket(elements[i])] {
				keys = append(keys, key)
				values = append(values, elements[i+1])
			}
		}
	})
	for i, key := range keys {
		n.group.Put(sequence, key, values[i], int64(from))
	}
	n.counts.pushed.Add(uint64(len(keys)))
	return err
}

// Lost says that the answer to an event's COMMIT was lost (R9).
func (n *Node) Lost(sequence uint64) {
	n.driver.Input(func(m *coherence.Machine, _ coherence.Time) {
		m.Lost(coherence.EventID{Writer: n.mesh.Incarnation, Sequence: sequence})
	})
}

// OutsideWrite registers, once, what a note names: a list of keys, or everything (R14). The views that
// list the note come later. See [bridge.NewNote] for the other parameters.
func (n *Node) OutsideWrite(id, nonce uint64, list []byte, all bool, rows uint64, application string) error {
	note, err := bridge.NewNote(n.Memory.table, id, nonce, list, all, rows, application)
	if err != nil {
		return err
	}
	n.driver.Lock()
	defer n.driver.Unlock()
	n.queries.Outside.Register(note, now(), n.cfg.Alone)
	return nil
}

// Answer takes Python's answer, in JSON, to a database query.
func (n *Node) Answer(query uint64, text []byte) {
	answer := bridge.ParseAnswer(text)
	n.driver.Input(func(m *coherence.Machine, now coherence.Time) { n.queries.Answer(m, now, query, answer) })
}
