package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// writeStep is how many bytes are written under one deadline, so that a large frame on a
// slow line is not taken for a stalled peer.
const writeStep = 64 << 10

// timedConn is a connection that gives every read and write a deadline of its own. It lies
// below TLS, so that also a TLS record that comes byte by byte is progress.
//
// In between it can be told not to wait for the peer: what the socket does not take at once
// then stays here, and goes before anything that is written later.
type timedConn struct {
	net.Conn
	silence time.Duration
	stall   time.Duration

	now   func(p []byte) (int, error) // writes what the socket takes at once; nil: always wait
	hasty atomic.Bool                 // do not wait
	rest  []byte                      // what the socket has not taken yet
}

func newTimedConn(conn net.Conn, limits Limits) *timedConn {
	c := &timedConn{Conn: conn, silence: limits.ReadTimeout, stall: limits.WriteTimeout}
	if system, ok := conn.(syscall.Conn); ok {
		if raw, err := system.SyscallConn(); err == nil { // else it is closed already
			c.now = func(p []byte) (int, error) { return polledNow(raw, p) }
		}
	}
	return c
}

// timedBelow returns the timedConn of a greeted connection, which may have TLS over it.
func timedBelow(conn net.Conn) *timedConn {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	return conn.(*timedConn)
}

// polledNow writes what a socket of Go's poller takes at once.
func polledNow(raw syscall.RawConn, p []byte) (n int, err error) {
	closed := raw.Write(func(fd uintptr) bool {
		n, err = atOnce(syscall.Write(int(fd), p))
		return true // whatever came of it, do not wait
	})
	return n, errors.Join(closed, err)
}

// atOnce makes what a write that does not wait gave into what was written, which may be nothing.
func atOnce(n int, err error) (int, error) {
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
		err = nil
	}
	return max(n, 0), err
}

func (c *timedConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = faultf(ReasonReadTimeout, "nothing came from it for %v", c.silence)
	}
	return n, err
}

func (c *timedConn) Write(p []byte) (int, error) {
	if c.hasty.Load() {
		return c.writeNow(p)
	}
	if err := c.flush(); err != nil {
		return 0, err
	}
	// A deadline that is over would end the next write that does not wait.
	defer func() { _ = c.SetWriteDeadline(time.Time{}) }()
	written := 0
	for {
		if err := c.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(p[written:min(len(p), written+writeStep)])
		written += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = faultf(ReasonWriteTimeout, "it read nothing for %v", c.stall)
		}
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// writeNow gives the socket what it takes at once, and keeps the rest.
func (c *timedConn) writeNow(p []byte) (int, error) {
	written := 0
	if len(c.rest) == 0 {
		var err error
		if written, err = c.now(p); err != nil {
			return 0, err
		}
	}
	c.rest = append(c.rest, p[written:]...)
	return len(p), nil
}

// flush writes what the socket has not taken yet.
func (c *timedConn) flush() error {
	rest := c.rest
	if len(rest) == 0 {
		return nil
	}
	c.rest = nil
	_, err := c.Write(rest)
	return err
}
