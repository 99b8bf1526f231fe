package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// Lane is a connection with a peer for requests alone, whose answers nobody waits for: they
// are read when a [Watcher] says that they have come.
//
// The tension: a goroutine that reads serves also while its process does something else, but
// costs who waits for an answer the wake of one thread more, and that is most of what a small
// read costs. So everything else goes over a [Session], and over a lane what the process's
// event loop waits for anyway. The peer has an ordinary session, which only answers.
//
// All methods may be called from any goroutine.
type Lane struct {
	owner   *Transport
	remote  string
	ended   chan struct{} // closed when it has ended
	unwatch func()

	mu      sync.Mutex
	socket  *laneSocket
	conn    net.Conn  // over socket: TLS where there is any
	in      io.Reader // over conn: what the handshake has read ahead comes first
	arrived []byte    // what is not yet a whole frame
	last    uint64
	waiting map[uint64]asked
	wrote   time.Time
	err     error // why it has ended
}

// asked is a request whose answer has not come.
type asked struct {
	until time.Time
	done  func(body []byte, err error)
}

// finished is a request whose end is known but not told.
type finished struct {
	done func(body []byte, err error)
	body []byte
	err  error
}

// Watcher calls ready while the descriptor fd is readable, until remove is called, which is
// before the descriptor is closed.
type Watcher interface {
	Add(fd int, ready func()) (remove func(), err error)
}

// maxAsked is the largest request of a lane, in bytes: a socket has room for some of them.
const maxAsked = 16 << 10

// DialLane opens a lane to an address, and returns who answers there; in all else it is
// [Transport.Dial].
func (t *Transport) DialLane(ctx context.Context, to string, watcher Watcher) (*Lane, Peer, error) {
	var l *Lane
	peer, err := t.dial(ctx, to, true, func(g *handshaken) (err error) {
		l, err = t.newLane(g, watcher)
		return err
	})
	if err == nil {
		l.receive() // of what came with the hello the socket does not tell any more
	}
	return l, peer, err
}

func (t *Transport) newLane(g *handshaken, watcher Watcher) (l *Lane, err error) {
	socket := g.raw.(*laneSocket)
	l = &Lane{
		owner: t, remote: g.remote, ended: make(chan struct{}), socket: socket,
		conn: g.conn, in: g.reader, waiting: map[uint64]asked{}, wrote: time.Now(),
	}
	l.mu.Lock() // who is told of something to read at once waits until all is there
	defer l.mu.Unlock()
	if err = socket.detach(); err == nil {
		l.unwatch, err = watcher.Add(socket.fd, l.receive)
	}
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	if err = t.registerLane(l); err != nil {
		l.end(nil)
		return nil, err
	}
	return l, nil
}

// Done is closed when the lane has ended.
func (l *Lane) Done() <-chan struct{} { return l.ended }

// CallAsync sends a request without waiting, as [Session.CallAsync] does: done gets the answer, or an error,
// once, also before CallAsync returns, and must not block. ErrTooLarge is a request over maxAsked.
func (l *Lane) CallAsync(within time.Duration, done func(body []byte, err error), kind FrameKind, body ...[]byte) {
	if size := bodySize(body); size > maxAsked {
		done(nil, fmt.Errorf("%w: %d bytes, at most %d are allowed over a lane", ErrTooLarge, size, maxAsked))
		return
	}
	l.mu.Lock()
	got := l.ask(within, done, encodeFrame(typeRequest, kind, l.last+1, body...))
	l.mu.Unlock()
	l.tell(got)
}

// ask sends a request that takes the next id. The caller holds mu, here and below.
func (l *Lane) ask(within time.Duration, done func([]byte, error), frame []byte) []finished {
	switch {
	case l.err != nil:
		return []finished{{done: done, err: l.err}}
	case len(l.waiting) >= l.owner.limits.Requests:
		return []finished{{done: done, err: ErrOverload}}
	}
	l.last++
	l.waiting[l.last] = asked{time.Now().Add(within), done}
	return l.write(frame)
}

// receive reads what has come, and tells who waits for it.
func (l *Lane) receive() {
	l.mu.Lock()
	got := l.read()
	l.mu.Unlock()
	l.tell(got)
}

// Tick is to be called now and then: it ends requests whose time is over, and tells the peer
// that this process is there. It also reads what the watcher had no time for.
func (l *Lane) Tick() {
	l.mu.Lock()
	got := l.tick(time.Now())
	l.mu.Unlock()
	l.tell(got)
}

func (l *Lane) tick(now time.Time) (got []finished) {
	if len(l.waiting) > 0 {
		got = l.read()
	}
	for id, a := range l.waiting {
		if now.After(a.until) {
			delete(l.waiting, id)
			got = append(got, finished{done: a.done, err: context.DeadlineExceeded})
		}
	}
	if l.err == nil && now.Sub(l.wrote) >= l.owner.limits.Heartbeat {
		got = append(got, l.write(encodeFrame(typeHeartbeat, 0, 0))...)
	}
	return got
}

// Close ends the lane because of err, nil: in order; requests end with ErrClosed.
func (l *Lane) Close(err error) {
	l.mu.Lock()
	got := l.end(err)
	l.mu.Unlock()
	l.tell(got)
}

// tell tells who waits. A panic there ends the lane, as one of the handler ends a session.
func (l *Lane) tell(all []finished) {
	for len(all) > 0 {
		f := all[0]
		all = all[1:]
		if err := Guard(func() error { f.done(f.body, f.err); return nil }); err != nil {
			l.mu.Lock()
			all = append(all, l.end(err)...)
			l.mu.Unlock()
		}
	}
}

// write sends a frame, and ends the lane where the socket does not take it: a peer that does
// not read so little answers nothing either.
func (l *Lane) write(frame []byte) []finished {
	if _, err := l.conn.Write(frame); err != nil {
		if errors.Is(err, errNoRoom) {
			err = faultf(ReasonWriteTimeout, "it does not read what it is asked: %w", err)
		}
		return l.end(err)
	}
	l.wrote = time.Now()
	l.owner.counters.framesOut.Add(1)
	l.owner.counters.bytesOut.Add(uint64(len(frame)))
	return nil
}

func (l *Lane) read() (got []finished) {
	l.socket.begin()
	for l.err == nil {
		// Memory grows with what has arrived, so that a header alone cannot claim much.
		l.arrived = slices.Grow(l.arrived, bufferSize)
		n, err := l.in.Read(l.arrived[len(l.arrived):cap(l.arrived)])
		l.arrived = l.arrived[:len(l.arrived)+n]
		if n > 0 {
			got = l.parse(got)
		}
		if errors.Is(err, errNothing) {
			return got
		}
		if err != nil {
			got = append(got, l.end(err)...)
		}
	}
	return got
}

// parse takes the whole frames of what has arrived.
func (l *Lane) parse(got []finished) []finished {
	rest := l.arrived
	for l.err == nil {
		f, size, err := firstFrame(rest, l.owner.limits.Frame)
		if err != nil {
			got = append(got, l.end(err)...)
		}
		if size == 0 || err != nil {
			break
		}
		rest = rest[size:]
		l.owner.counters.framesIn.Add(1)
		l.owner.counters.bytesIn.Add(uint64(size))
		got = l.take(f, got)
	}
	if len(rest) == 0 && cap(l.arrived) > readStep { // one large answer must not cost its memory for ever
		l.arrived = nil
	}
	l.arrived = l.arrived[:copy(l.arrived, rest)]
	return got
}

// take finishes the request that a frame answers, if anybody still waits for it. Its body
// belongs to who has asked.
func (l *Lane) take(f frame, got []finished) []finished {
	var end finished
	switch f.typ {
	case typeAnswer:
		end.body = slices.Clone(f.body)
	case typeFailure:
		end.err = &RemoteError{Printable(string(f.body)), f.kind == codeOverload}
	case typeHeartbeat:
		return got
	default:
		return append(got, l.end(faultf(ReasonMalformed, "a frame of type %d over a lane", f.typ))...)
	}
	a, waits := l.waiting[f.id]
	if !waits {
		return got
	}
	delete(l.waiting, f.id)
	end.done = a.done
	return append(got, end)
}

// end ends the lane, once: the first cause counts.
func (l *Lane) end(cause error) (got []finished) {
	if l.err != nil {
		return nil
	}
	l.err = closedBy(cause)
	close(l.ended)
	l.unwatch()
	_ = l.socket.Close() // there is nothing to do about an error here
	l.owner.removeLane(l)
	l.owner.faults.record(l.remote, cause)
	for _, a := range l.waiting {
		got = append(got, finished{done: a.done, err: l.err})
	}
	l.waiting = nil
	return got
}
