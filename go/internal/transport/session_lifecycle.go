package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
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

// Call sends a request and waits for its answer, which belongs to the caller. Its errors:
// *RemoteError when the peer's handler failed or the peer is overloaded, ErrOverload when
// the queue here is full, ErrTooLarge, ErrClosed when the session ends, and the context's
// error when that ends first; the answer is dropped then, the peer still works on it.
func (s *Session) Call(ctx context.Context, kind FrameKind, body ...[]byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	id, done := s.calls.next(), make(chan result, 1)
	if err := s.calls.add(id, func(r result) { done <- r }); err != nil {
		return nil, err
	}
	if err := s.put(typeRequest, kind, id, body...); err != nil {
		s.calls.take(id)
		return nil, err
	}
	select {
	case r := <-done:
		return r.body, r.err
	case <-ctx.Done():
		s.calls.take(id)
		return nil, ctx.Err()
	}
}

// CallAsync is Call without a wait: done gets the answer, or an error as of Call, once, from the
// goroutine that reads the session or from any other, also before CallAsync returns. It must not
// block. An answer that has not come within a time is a [context.DeadlineExceeded].
func (s *Session) CallAsync(within time.Duration, done func(body []byte, err error), kind FrameKind, body ...[]byte) {
	id := s.calls.next()
	late := time.AfterFunc(within, func() {
		err := Guard(func() error { s.calls.finish(id, result{err: context.DeadlineExceeded}); return nil })
		s.owner.faults.note(s.remote, err)
	})
	finish := func(r result) {
		late.Stop()
		done(r.body, r.err)
	}
	if err := s.calls.add(id, finish); err != nil {
		finish(result{err: err})
		return
	}
	if err := s.put(typeRequest, kind, id, body...); err != nil {
		s.calls.finish(id, result{err: err})
	}
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

// read is the reader goroutine: it hands arriving frames to the handler until the end.
func (s *Session) read() {
	defer s.owner.group.Done()
	s.end(Guard(s.receive))
	s.owner.forget(s)
	err := Guard(func() error { s.owner.handler.Down(s, s.cause); return nil })
	s.owner.faults.note(s.remote, err)
}

func (s *Session) receive() error {
	for {
		f, err := s.in.next()
		if err != nil {
			return err
		}
		if s.over() { // frames that are buffered already must not outlive the session
			return nil
		}
		s.owner.counters.framesIn.Add(1)
		s.owner.counters.bytesIn.Add(uint64(headerSize + len(f.body)))
		switch f.typ {
		case typeMessage:
			s.owner.handler.Message(s, f.kind, f.body)
		case typeRequest:
			s.request(f)
		case typeAnswer:
			s.calls.finish(f.id, result{body: f.body})
		case typeFailure:
			s.calls.finish(f.id, result{err: &RemoteError{Printable(string(f.body)), f.kind == codeOverload}})
		}
	}
}

func (s *Session) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// request hands a request to the handler, unless too many wait already.
func (s *Session) request(f frame) {
	if s.unanswered.Load() >= int64(s.owner.limits.Requests) {
		s.fail(f.id, fmt.Errorf("%w: %d requests wait for an answer", ErrOverload, s.owner.limits.Requests))
		return
	}
	s.unanswered.Add(1)
	id := f.id
	var answered atomic.Bool
	s.owner.handler.Request(s, f.kind, f.body, func(body []byte, err error) {
		if answered.Swap(true) {
			return
		}
		s.unanswered.Add(-1)
		s.answer(id, body, err)
	})
}

// answer sends the handler's answer. One that cannot be sent becomes a failure: the peer
// must not wait in vain.
func (s *Session) answer(id uint64, body []byte, err error) {
	if err == nil {
		err = s.put(typeAnswer, 0, id, body)
		if err == nil || errors.Is(err, ErrClosed) {
			return
		}
	}
	s.fail(id, err)
}

// fail answers a request with an error. Where not even that has room, the peer asks and
// does not read: the session ends, as a request without any answer is worse.
func (s *Session) fail(id uint64, err error) {
	code, text := codeError, err.Error()
	if errors.Is(err, ErrOverload) {
		code = codeOverload
	}
	text = strings.ToValidUTF8(text[:min(len(text), maxMessage)], "")
	if err := s.put(typeFailure, code, id, []byte(text)); errors.Is(err, ErrOverload) {
		s.end(faultf(ReasonFlood, "it asks faster than it reads the answers: %w", err))
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
