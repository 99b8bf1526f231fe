package bridge

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Watch is some descriptors as one: it is readable while one of them is. So Python's event loop
// has to know only one, whatever comes and goes.
type Watch struct {
	epoll int

	mu    sync.Mutex
	last  int32
	ready map[int32]func() // by a number of its own: that of a descriptor comes again
}

// batch is for how many descriptors Ready calls at once; the others it finds the next time.
const batch = 64

// NewWatch returns a watch of nothing.
func NewWatch() (*Watch, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	return &Watch{epoll: epoll, ready: make(map[int32]func())}, nil
}

// FD is readable while a watched descriptor is.
func (w *Watch) FD() int { return w.epoll }

// Add watches a descriptor until remove is called, which must be before it is closed: a process
// that was forked may have it too, and would keep it readable. ready is called by Ready while
// the descriptor is readable.
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
		return // it was removed, and the descriptor may be another one by now
	}
	delete(w.ready, number)
	_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil) // it fails where the watch is closed already
}

// Ready calls what belongs to the descriptors that are readable now. It never waits.
func (w *Watch) Ready() {
	var events [batch]unix.EpollEvent
	n, err := unix.EpollWait(w.epoll, events[:], 0)
	if err != nil {
		return // interrupted: the descriptor stays readable, so there is a next time
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

// Close ends the watch. The caller no longer watches FD.
func (w *Watch) Close() { _ = unix.Close(w.epoll) }
