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
// slow network does not run into the write timeout.
const writeStep = 64 << 10

// timedConn is a connection that gives every read and write a deadline of its own. It lies
// below TLS, so that a TLS record that arrives byte by byte counts as progress.
//
// Writes can be switched to nonblocking: what the socket does not take at once is then kept in
// unwritten, and goes out before anything that is written later.
type timedConn struct {
	net.Conn
	readTimeout  time.Duration
	writeTimeout time.Duration

	tryWrite    func(p []byte) (int, error) // writes what the socket takes at once; nil: not possible
	nonblocking atomic.Bool
	unwritten   []byte
}

func newTimedConn(conn net.Conn, limits Limits) *timedConn {
	c := &timedConn{Conn: conn, readTimeout: limits.ReadTimeout, writeTimeout: limits.WriteTimeout}
	if system, ok := conn.(syscall.Conn); ok {
		if raw, err := system.SyscallConn(); err == nil { // else it is closed already
			c.tryWrite = func(p []byte) (int, error) { return tryWritePolled(raw, p) }
		}
	}
	return c
}

// timedConnOf returns the timedConn of a handshaken connection, which may have TLS over it.
func timedConnOf(conn net.Conn) *timedConn {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	return conn.(*timedConn)
}

// tryWritePolled writes what a socket of Go's poller takes at once.
func tryWritePolled(raw syscall.RawConn, p []byte) (n int, err error) {
	closed := raw.Write(func(fd uintptr) bool {
		n, err = notBlocked(syscall.Write(int(fd), p))
		return true // do not wait, whatever the result
	})
	return n, errors.Join(closed, err)
}

// notBlocked converts the result of a nonblocking write: a full socket is no error, but 0 bytes.
func notBlocked(n int, err error) (int, error) {
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
		err = nil
	}
	return max(n, 0), err
}

func (c *timedConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.readTimeout)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = faultf(ReasonReadTimeout, "read timeout: it sent nothing for %v", c.readTimeout)
	}
	return n, err
}

func (c *timedConn) Write(p []byte) (int, error) {
	if c.nonblocking.Load() {
		return c.writeNonblocking(p)
	}
	if err := c.flush(); err != nil {
		return 0, err
	}
	// A deadline that has passed would fail the next nonblocking write.
	defer func() { _ = c.SetWriteDeadline(time.Time{}) }()
	written := 0
	for {
		if err := c.SetWriteDeadline(time.Now().Add(c.writeTimeout)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(p[written:min(len(p), written+writeStep)])
		written += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = faultf(ReasonWriteTimeout, "write timeout: it read nothing for %v", c.writeTimeout)
		}
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// writeNonblocking writes what the socket takes at once, and keeps the rest in unwritten.
func (c *timedConn) writeNonblocking(p []byte) (int, error) {
	written := 0
	if len(c.unwritten) == 0 {
		var err error
		if written, err = c.tryWrite(p); err != nil {
			return 0, err
		}
	}
	c.unwritten = append(c.unwritten, p[written:]...)
	return len(p), nil
}

// flush writes what the socket has not taken yet.
func (c *timedConn) flush() error {
	unwritten := c.unwritten
	if len(unwritten) == 0 {
		return nil
	}
	c.unwritten = nil
	_, err := c.Write(unwritten)
	return err
}
