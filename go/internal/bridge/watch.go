package bridge

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Watch combines descriptors into one that is readable while any of them is, so that Python's event loop
// watches the same one all the time. It is safe for concurrent use.
type Watch struct {
	epoll int

	mu    sync.Mutex
	last  int32
	ready map[int32]func() // by a number of the watch: descriptor numbers are reused
}

// batch bounds the descriptors that one call of Ready handles; the next call handles the others.
const batch = 64

// NewWatch returns a watch of nothing.
func NewWatch() (*Watch, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	return &Watch{epoll: epoll, ready: make(map[int32]func())}, nil
}

// FD returns the descriptor that is readable while a watched one is.
func (w *Watch) FD() int { return w.epoll }

// Add watches a descriptor until remove is called, which must be before the descriptor is closed: a
// forked process may have it too, and would keep it readable. [Watch.Ready] calls ready while the
// descriptor is readable.
func (w *Watch) Add(fd int, ready func()) (remove func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last++
	number := w.last
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: number}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	w.ready[number] = ready
	return func() { w.remove(fd, number) }, nil
}

func (w *Watch) remove(fd int, number int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ready[number] == nil {
		return // removed already; the descriptor number may be reused by now
	}
	delete(w.ready, number)
	_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil) // fails if the watch is closed already
}

// Ready calls the functions of the descriptors that are readable now. It never waits.
func (w *Watch) Ready() {
	var events [batch]unix.EpollEvent
	n, err := unix.EpollWait(w.epoll, events[:], 0)
	if err != nil {
		return // interrupted: FD stays readable, so Ready is called again
	}
	for _, event := range events[:n] {
		w.mu.Lock()
		ready := w.ready[event.Fd]
		w.mu.Unlock()
		if ready != nil {
			ready()
		}
	}
}

// Close ends the watch. The event loop must not watch FD any more.
func (w *Watch) Close() { _ = unix.Close(w.epoll) }
