package transport

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Session is an authenticated conversation with a peer over one connection. All methods may be
// called from any goroutine and from the Handler, except that Call must not be called from the
// Handler: its answer could not be read.
type Session struct {
	transport *Transport
	peer      Peer
	remote    string // see handshaken
	outgoing  bool
	source    string    // inbound: see sourceOf
	listedAt  time.Time // inbound: when it began, or the last view that listed its process; Transport.mu guards it

	raw    net.Conn   // the socket
	conn   net.Conn   // over raw: deadlines, and TLS where there is any
	timed  *timedConn // the deadlines
	frames frameReader
	queue  *queue
	calls  *calls

	unanswered atomic.Int64 // requests of the peer that are not answered yet

	endOnce sync.Once
	closing atomic.Bool   // Close(nil) was called
	ended   chan struct{} // closed when the session has ended
	cause   error         // why; set before ended is closed
}

func newSession(t *Transport, c *handshaken, outgoing bool) *Session {
	s := &Session{
		transport: t, peer: c.peer, remote: c.remote, source: c.source, outgoing: outgoing, raw: c.raw, conn: c.conn,
		timed:  timedConnOf(c.conn),
		frames: frameReader{from: c.reader, limit: t.limits.Frame},
		queue:  newQueue(t.limits), calls: newCalls(), ended: make(chan struct{}),
	}
	s.frames.refuses = s.refusesSize
	s.queue.unlisted, s.queue.shared = s.isUnlisted, &t.unlistedQueued
	return s
}

// Peer returns the process at the other end, which has proved its incarnation.
func (s *Session) Peer() Peer { return s.peer }

// Outgoing reports whether this side dialled.
func (s *Session) Outgoing() bool { return s.outgoing }

// Done returns a channel that is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.ended }

// Send queues a one-way frame, whose body is the parts one after the other (they are copied). Frames
// arrive in the order in which they were sent, or not at all if the session ends. Send does not
// wait: it returns ErrOverload when the queue is full, ErrTooLarge, or ErrClosed.
func (s *Session) Send(kind FrameKind, body ...[]byte) error {
	return s.enqueue(typeMessage, kind, 0, body...)
}

// enqueue queues one frame, or writes it at once where nothing is before it.
func (s *Session) enqueue(typ frameType, kind FrameKind, id uint64, body ...[]byte) error {
	if size := bodySize(body); size > s.transport.limits.Frame {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, size, s.transport.limits.Frame)
	}
	frame := encodeFrame(typ, kind, id, body...)
	direct, err := s.queue.put(frame, s.timed.tryWrite != nil)
	if direct {
		s.writeDirect(frame)
	}
	if errors.Is(err, ErrOverload) {
		s.transport.counters.overloads.Add(1)
	}
	return err
}

// Close ends the session and returns at once. With a nil err what is queued is still sent before the
// connection is closed, for at most Limits.DrainTimeout; frames of the peer may arrive until then.
// With any other err the session ends at once. Calls end with ErrClosed either way.
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
	time.AfterFunc(s.transport.limits.DrainTimeout, func() { s.end(nil) })
}

// end ends the session at once. Only the first call's cause counts.
func (s *Session) end(cause error) {
	s.endOnce.Do(func() {
		if s.closing.Load() {
			cause = nil // errors are expected once this side is closing
		}
		s.cause = cause
		close(s.ended)
		_ = s.raw.Close() // there is nothing to do about an error here
		s.queue.discard()
		s.calls.end(closedBy(cause))
		s.transport.faults.record(s.remote, cause)
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
	if err := Guard(func() error { s.transport.handler.Up(s); return nil }); err != nil {
		s.end(err)
	}
}
