package transport

import (
	"net"
	"sync"
	"sync/atomic"
)

// pending is the inbound connections in handshake, oldest first, of which there are at most so
// many.
//
// When there are more, the oldest of the source that has the most has to go, not the latest: a peer
// is done in milliseconds, so that those who have been there for longest are most likely the ones
// that say nothing, and thousands of these keep no peer out.
type pending struct {
	most int
	// slots bounds those that are open: also one that had to go holds its descriptor until its
	// goroutine has ended. Some may be about to, so that not each next one waits for the last.
	slots chan struct{}

	mu    sync.Mutex
	conns []*pendingConn
}

type pendingConn struct {
	net.Conn
	source string
	ousted atomic.Bool
}

func newPending(most int) pending {
	return pending{most: most, slots: make(chan struct{}, most+most/4)}
}

// add counts a connection in, closes another one if there are too many, and waits until there is
// room. It is false where done is closed before that.
func (p *pending) add(conn net.Conn, done <-chan struct{}) (*pendingConn, bool) {
	c := &pendingConn{Conn: conn, source: sourceOf(conn)}
	p.mu.Lock()
	if len(p.conns) >= p.most {
		i := oldestOfBusiest(p.conns, func(c *pendingConn) string { return c.source })
		ousted := p.conns[i]
		p.conns = append(p.conns[:i], p.conns[i+1:]...)
		ousted.ousted.Store(true)
		_ = ousted.Close() // there is nothing to do about an error here
	}
	p.conns = append(p.conns, c)
	p.mu.Unlock()
	select {
	case p.slots <- struct{}{}:
		return c, true
	case <-done:
		return nil, false
	}
}

// remove counts a connection out, once.
func (p *pending) remove(c *pendingConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.conns {
		if other == c {
			p.conns = append(p.conns[:i], p.conns[i+1:]...)
			break
		}
	}
	<-p.slots
}

func (p *pending) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}
