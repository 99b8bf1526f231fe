package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// blockingSocket is the socket below the answering end of a lane: who reads waits in the
// system call, on a thread of its own.
//
// The tension: Go's poller needs no thread for each connection, but it is told of everything
// that happens to a socket, also that a unix socket has room again after each answer was read,
// and it wakes a second thread to look for more work whenever one finds some. On two cores
// those take the time of the process that waits for the answer: a read from a peer took a
// quarter longer. So the first laneThreads lanes have threads, and more of them the poller.
//
// A thread that waits in a system call keeps one of the processors that Go shares out for up to
// 10 ms; where none is left, what comes over other connections has to wait until Go's monitor
// looks. So each of these threads brings one: see moreProcessors.
type blockingSocket struct {
	net.Conn // for its addresses: it is closed

	// using is held shared in a system call, and alone to close the descriptor, so that no call
	// meets another file under the same number.
	using  sync.RWMutex
	fd     int
	closed atomic.Bool
	freed  func()
}

// laneThreads is how many lanes may have a thread each that waits for them.
const laneThreads = 8

// changing is held while the number of Go's processors is changed.
var changing sync.Mutex

// moreProcessors adds to the number of Go's processors, GOMAXPROCS. It stops the process for some
// microseconds, once a lane.
func moreProcessors(n int) {
	changing.Lock()
	defer changing.Unlock()
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
}

// block makes the connection of a lane, which has said hello, wait in system calls, if there may
// be one more that does.
func (t *Transport) block(g *handshaken) error {
	if t.blocking.Add(1) > laneThreads {
		t.blocking.Add(-1)
		return nil
	}
	moreProcessors(1)
	free := func() {
		moreProcessors(-1)
		t.blocking.Add(-1)
	}
	socket, err := newBlockingSocket(g.raw, t.limits, free)
	if err != nil {
		free()
		return err
	}
	timed := timedConnOf(g.conn)
	timed.Conn, timed.tryWrite = socket, socket.writeNow
	g.raw = socket
	return nil
}

// newBlockingSocket takes a connection away from Go's poller; freed is called when it is closed.
func newBlockingSocket(conn net.Conn, limits Limits, freed func()) (*blockingSocket, error) {
	fd, err := detach(conn)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		unix.SetNonblock(fd, false),
		setTimeout(fd, unix.SO_RCVTIMEO, limits.ReadTimeout),
		setTimeout(fd, unix.SO_SNDTIMEO, limits.WriteTimeout),
	)
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &blockingSocket{Conn: conn, fd: fd, freed: freed}, nil
}

func setTimeout(fd, option int, d time.Duration) error {
	after := unix.NsecToTimeval(d.Nanoseconds())
	return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &after)
}

// call makes a system call, again where a signal has interrupted it.
func (s *blockingSocket) call(f func(fd int) (int, error)) (int, error) {
	s.using.RLock()
	defer s.using.RUnlock()
	for {
		if s.closed.Load() {
			return 0, net.ErrClosed
		}
		n, err := f(s.fd)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN): // SO_RCVTIMEO or SO_SNDTIMEO
			return max(n, 0), os.ErrDeadlineExceeded
		default:
			return max(n, 0), err
		}
	}
}

func (s *blockingSocket) Read(p []byte) (int, error) {
	n, err := s.call(func(fd int) (int, error) { return syscall.Read(fd, p) })
	if err == nil && n == 0 && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}

// Write waits for as long as the peer takes something within Limits.WriteTimeout.
func (s *blockingSocket) Write(p []byte) (written int, err error) {
	for written < len(p) && err == nil {
		var n int
		n, err = s.call(func(fd int) (int, error) { return unix.SendmsgN(fd, p[written:], nil, nil, unix.MSG_NOSIGNAL) })
		written += n
	}
	return written, err
}

// writeNow writes what the socket takes at once.
func (s *blockingSocket) writeNow(p []byte) (n int, err error) {
	_, closed := s.call(func(fd int) (int, error) {
		n, err = notBlocked(unix.SendmsgN(fd, p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL))
		return 0, nil
	})
	return n, errors.Join(closed, err)
}

// SetReadDeadline and SetWriteDeadline do nothing: the system knows the times that all waits have.
func (s *blockingSocket) SetReadDeadline(time.Time) error  { return nil }
func (s *blockingSocket) SetWriteDeadline(time.Time) error { return nil }

// CloseWrite tells the peer that nothing more comes.
func (s *blockingSocket) CloseWrite() error {
	_, err := s.call(func(fd int) (int, error) { return 0, unix.Shutdown(fd, unix.SHUT_WR) })
	return err
}

// Close ends the connection, and with it every call that waits.
func (s *blockingSocket) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	// A socket that the peer has closed cannot be shut down; nobody waits for it then.
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR)
	s.using.Lock()
	defer s.using.Unlock()
	s.freed()
	return unix.Close(s.fd)
}
