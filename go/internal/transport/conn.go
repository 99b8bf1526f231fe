package transport

import (
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

	direct syscall.RawConn // nil: always wait
	hasty  atomic.Bool     // do not wait
	rest   []byte          // what the socket has not taken yet
}

func newTimedConn(conn net.Conn, limits Limits) *timedConn {
	c := &timedConn{Conn: conn, silence: limits.Silence, stall: limits.Stall}
	if system, ok := conn.(syscall.Conn); ok {
		c.direct, _ = system.SyscallConn() // an error: it is closed already
	}
	return c
}

func (c *timedConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = faultf(ReasonSilent, "nothing came from it for %v", c.silence)
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
			err = faultf(ReasonStalled, "it read nothing for %v", c.stall)
		}
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// writeNow gives the socket what it takes at once, and keeps the rest.
func (c *timedConn) writeNow(p []byte) (int, error) {
	written := 0
	var failed error
	if len(c.rest) == 0 {
		err := c.direct.Write(func(fd uintptr) bool {
			written, failed = syscall.Write(int(fd), p)
			return true // whatever came of it, do not wait
		})
		if errors.Is(failed, syscall.EAGAIN) || errors.Is(failed, syscall.EINTR) {
			failed = nil
		}
		if err = errors.Join(err, failed); err != nil {
			return 0, err
		}
	}
	c.rest = append(c.rest, p[max(written, 0):]...)
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
