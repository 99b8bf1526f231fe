package transport

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Session is a connection with a peer whose handshake is done. All methods may be called
// from any goroutine, those of the Handler included, except that Call must not be called
// from the Handler: its answer could not be read.
type Session struct {
	owner    *Transport
	peer     Peer
	remote   string // see greeted
	outgoing bool
	source   string    // inbound: see sourceOf
	listedAt time.Time // inbound: of its begin, or the last view that showed its process; Transport.mu guards it

	raw   net.Conn   // the socket
	conn  net.Conn   // over raw: deadlines, and TLS where there is any
	timed *timedConn // the deadlines
	in    frameReader
	queue *queue
	calls *calls

	unanswered atomic.Int64 // requests of the peer that wait for our answer

	endOnce sync.Once
	closing atomic.Bool   // Close(nil) was called
	ended   chan struct{} // closed when the session has ended
	cause   error         // why; set before ended is closed
}

// Peer returns who the other side has proved to be, and what it said of itself.
func (s *Session) Peer() Peer { return s.peer }

// Outgoing reports whether this side dialled.
func (s *Session) Outgoing() bool { return s.outgoing }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.ended }

// Send queues a one-way frame, whose body is the parts one after the other (they are
// copied). Frames arrive in the order in which they were sent, or not at all if the session
// ends. Send does not wait: it returns ErrOverload when the queue is full, ErrTooLarge,
// or ErrClosed.
func (s *Session) Send(kind FrameKind, body ...[]byte) error {
	return s.put(typeMessage, kind, 0, body...)
}

// Close ends the session and returns at once. With a nil err what is queued is still sent
// and then the connection closed, for at most Limits.DrainTimeout; frames of the peer may arrive
// until then. With any other err it ends at once. Calls end with ErrClosed either way.
func (s *Session) Close(err error) {
	if err != nil {
		s.end(err)
		return
	}
	if s.closing.Swap(true) {
		return
	}
	s.calls.end(ErrClosed)
	s.queue.close()
	time.AfterFunc(s.owner.limits.DrainTimeout, func() { s.end(nil) })
}

// put queues one frame.
func (s *Session) put(typ frameType, kind FrameKind, id uint64, body ...[]byte) error {
	if size := bodySize(body); size > s.owner.limits.Frame {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, size, s.owner.limits.Frame)
	}
	frame := encodeFrame(typ, kind, id, body...)
	now, err := s.queue.put(frame, s.timed.now != nil)
	if now {
		s.writeNow(frame)
	}
	if errors.Is(err, ErrOverload) {
		s.owner.counters.overloads.Add(1)
	}
	return err
}

// end ends the session at once; the first cause counts.
func (s *Session) end(cause error) {
	s.endOnce.Do(func() {
		if s.closing.Load() {
			cause = nil // how the peer or the socket took our closing is no news
		}
		s.cause = cause
		close(s.ended)
		_ = s.raw.Close() // there is nothing to do about an error here
		s.queue.drop()
		s.calls.end(closedBy(cause))
		s.owner.faults.note(s.remote, cause)
	})
}

func closedBy(cause error) error {
	if cause == nil {
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrClosed, cause)
}

// up announces the session to the handler. A panic there ends it.
func (s *Session) up() {
	if err := Guard(func() error { s.owner.handler.Up(s); return nil }); err != nil {
		s.end(err)
	}
}

func newSession(t *Transport, g *greeted, outgoing bool) *Session {
	s := &Session{
		owner: t, peer: g.peer, remote: g.remote, source: g.source, outgoing: outgoing, raw: g.raw, conn: g.conn,
		timed: timedBelow(g.conn),
		in:    frameReader{from: g.in, limit: t.limits.Frame},
		queue: newQueue(t.limits), calls: newCalls(), ended: make(chan struct{}),
	}
	s.in.refuses = s.refuses
	s.queue.strangers, s.queue.isStranger = &t.strangers, s.isStranger
	return s
}
