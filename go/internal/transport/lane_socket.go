package transport

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// laneSocket is the socket below a lane. During the handshake it waits like any connection;
// once it is detached it never waits, and Go's poller does not know it any more, so that what
// arrives wakes no thread of Go's.
type laneSocket struct {
	net.Conn // until detach
	fd       int
	detached atomic.Bool // fd is the socket

	// left is how many bytes may still be read in this round, so that a peer that sends without
	// end does not hold up who reads. It is 0 also once a read has got all there was: to ask for
	// more would be a system call in vain.
	left int
}

// roundSize is how many bytes are read in one round.
const roundSize = 1 << 20

// begin begins a round. While something is left in the socket, its watcher calls for another.
func (s *laneSocket) begin() { s.left = roundSize }

// errNothing is what a read gives when nothing has come. It is temporary as the package net
// means it: crypto/tls then keeps what it has of a record, and goes on with it later.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "nothing has come" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// errNoRoom is what a write gives when the socket does not take all of it at once.
var errNoRoom = errors.New("the socket is full")

// detach takes the socket away from Go's poller.
func (s *laneSocket) detach() (err error) {
	if s.fd, err = detach(s.Conn); err == nil {
		s.detached.Store(true)
	}
	return err
}

// detach returns a connection's socket, and closes the connection, which is only one of two
// descriptors then.
func detach(conn net.Conn) (fd int, err error) {
	system, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = system.Control(func(old uintptr) { fd, failed = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, failed); err != nil {
		return 0, err
	}
	_ = conn.Close() // there is nothing to do about an error here
	return fd, nil
}

func (s *laneSocket) Read(p []byte) (int, error) {
	if !s.detached.Load() {
		return s.Conn.Read(p)
	}
	if s.left <= 0 {
		return 0, errNothing
	}
	n, err := syscall.Read(s.fd, p)
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return 0, errNothing
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	s.left -= n
	if n < len(p) {
		s.left = 0
	}
	return n, nil
}

func (s *laneSocket) Write(p []byte) (int, error) {
	if !s.detached.Load() {
		return s.Conn.Write(p)
	}
	n, err := syscall.Write(s.fd, p)
	if errors.Is(err, syscall.EAGAIN) || err == nil && n < len(p) {
		return max(n, 0), errNoRoom
	}
	return n, err
}

// Close must be called once; nothing may be called afterwards.
func (s *laneSocket) Close() error {
	if s.detached.Load() {
		return syscall.Close(s.fd)
	}
	return s.Conn.Close()
}

// SetReadDeadline and SetWriteDeadline do nothing where nothing waits.
func (s *laneSocket) SetReadDeadline(t time.Time) error {
	if s.detached.Load() {
		return nil
	}
	return s.Conn.SetReadDeadline(t)
}

func (s *laneSocket) SetWriteDeadline(t time.Time) error {
	if s.detached.Load() {
		return nil
	}
	return s.Conn.SetWriteDeadline(t)
}
