package node

import (
	"sync"

	"guillotina_groupcache/internal/bridge"
)

// owed is what Python waits for and a full queue refused. Nobody else would ever answer it: a
// request would hang, and a transaction would not be allowed to commit. There are no more of
// these than Python has asked for and got no answer to.
type owed struct {
	mu   sync.Mutex
	list []debt
}

type debt struct {
	kind    bridge.Kind
	id      uint64
	payload []byte
}

// tell gives Python what it waits for, if need be later; then it should be small.
func (n *Node) tell(kind bridge.Kind, id uint64, payload []byte) {
	n.owed.mu.Lock()
	defer n.owed.mu.Unlock()
	if len(n.owed.list) > 0 || !n.queue.Put(kind, id, payload) {
		n.owed.list = append(n.owed.list, debt{kind, id, payload})
	}
}

// payDebts tells what could not be told before, in order.
func (n *Node) payDebts() {
	n.owed.mu.Lock()
	defer n.owed.mu.Unlock()
	for len(n.owed.list) > 0 && n.queue.Put(n.owed.list[0].kind, n.owed.list[0].id, n.owed.list[0].payload) {
		n.owed.list = n.owed.list[1:]
	}
}
