package transport

import (
	"net"
	"sync"
	"sync/atomic"
)

// newcomers are the inbound connections in handshake, oldest first, of which there are at most
// so many.
//
// When there are more the oldest has to go, not the latest: a peer is done in milliseconds, so
// that those who have been there for longest are most likely the ones that say nothing, and
// thousands of these keep no peer out.
type newcomers struct {
	most int

	mu    sync.Mutex
	conns []*newcomer
}

type newcomer struct {
	net.Conn
	ousted atomic.Bool
}

// add counts a connection in, and closes the oldest if there are too many.
func (n *newcomers) add(conn net.Conn) *newcomer {
	c := &newcomer{Conn: conn}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.conns) >= n.most {
		oldest := n.conns[0]
		n.conns = n.conns[1:]
		oldest.ousted.Store(true)
		_ = oldest.Close() // there is nothing to do about an error here
	}
	n.conns = append(n.conns, c)
	return c
}

// remove counts a connection out, unless it was ousted.
func (n *newcomers) remove(c *newcomer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, other := range n.conns {
		if other == c {
			n.conns = append(n.conns[:i], n.conns[i+1:]...)
			return
		}
	}
}

func (n *newcomers) len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}
