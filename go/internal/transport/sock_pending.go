package transport

import (
	"net"
	"sync"
	"sync/atomic"
)

// pending holds the inbound connections in handshake, oldest first, of which there are at most
// limit.
//
// When there are more, the oldest one of the source that has the most is evicted, and not the
// latest: a peer completes its handshake within milliseconds, so the oldest ones are most likely
// those that send nothing, and thousands of these do not keep a peer out.
type pending struct {
	limit int
	// open bounds the connections that hold a descriptor, which an evicted one does until its
	// goroutine has ended. It has room for some of these, so that a new connection need not wait
	// for the one that it has evicted.
	open chan struct{}

	mu    sync.Mutex
	conns []*pendingConn
}

type pendingConn struct {
	net.Conn
	source  string
	evicted atomic.Bool
}

func newPending(limit int) pending {
	return pending{limit: limit, open: make(chan struct{}, limit+limit/4)}
}

// add counts a connection in, evicts another one if there are too many, and waits until it may hold
// its descriptor. It returns false if done is closed before that.
func (p *pending) add(conn net.Conn, done <-chan struct{}) (*pendingConn, bool) {
	c := &pendingConn{Conn: conn, source: sourceOf(conn)}
	p.mu.Lock()
	if len(p.conns) >= p.limit {
		i := oldestOfBusiest(p.conns, func(c *pendingConn) string { return c.source })
		evicted := p.conns[i]
		p.conns = append(p.conns[:i], p.conns[i+1:]...)
		evicted.evicted.Store(true)
		_ = evicted.Close() // there is nothing to do about an error here
	}
	p.conns = append(p.conns, c)
	p.mu.Unlock()
	select {
	case p.open <- struct{}{}:
		return c, true
	case <-done:
		return nil, false
	}
}

// remove counts a connection out. It must be called once for each that add has accepted.
func (p *pending) remove(c *pendingConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.conns {
		if other == c {
			p.conns = append(p.conns[:i], p.conns[i+1:]...)
			break
		}
	}
	<-p.open
}

func (p *pending) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}
