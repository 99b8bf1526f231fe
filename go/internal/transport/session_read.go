package transport

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

// read is the reader goroutine: it hands arriving frames to the handler until the session ends.
func (s *Session) read() {
	defer s.transport.group.Done()
	s.end(Guard(s.readFrames))
	s.transport.remove(s)
	err := Guard(func() error { s.transport.handler.Down(s, s.cause); return nil })
	s.transport.faults.record(s.remote, err)
}

func (s *Session) readFrames() error {
	for {
		f, err := s.frames.next()
		if err != nil {
			return err
		}
		if s.hasEnded() { // a frame that is buffered already must not be delivered after the end
			return nil
		}
		s.transport.counters.framesIn.Add(1)
		s.transport.counters.bytesIn.Add(uint64(headerSize + len(f.body)))
		switch f.typ {
		case typeMessage:
			s.transport.handler.Message(s, f.kind, f.body)
		case typeRequest:
			s.serve(f)
		case typeAnswer:
			s.calls.finish(f.id, result{body: f.body})
		case typeFailure:
			s.calls.finish(f.id, result{err: &RemoteError{Printable(string(f.body)), f.kind == codeOverload}})
		}
	}
}

func (s *Session) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// serve hands a request to the handler, unless too many are unanswered already.
func (s *Session) serve(f frame) {
	if s.unanswered.Load() >= int64(s.transport.limits.Requests) {
		s.fail(f.id, fmt.Errorf("%w: %d requests are not answered yet", ErrOverload, s.transport.limits.Requests))
		return
	}
	s.unanswered.Add(1)
	id := f.id
	var answered atomic.Bool
	s.transport.handler.Request(s, f.kind, f.body, func(body []byte, err error) {
		if answered.Swap(true) {
			return
		}
		s.unanswered.Add(-1)
		s.answer(id, body, err)
	})
}

// answer sends the handler's answer. An answer that cannot be sent becomes a failure, so that the
// peer does not wait in vain.
func (s *Session) answer(id uint64, body []byte, err error) {
	if err == nil {
		err = s.enqueue(typeAnswer, 0, id, body)
		if err == nil || errors.Is(err, ErrClosed) {
			return
		}
	}
	s.fail(id, err)
}

// fail answers a request with an error. Where the queue has no room even for that, the peer sends
// requests and does not read: the session ends, since a request must not stay without any answer.
func (s *Session) fail(id uint64, err error) {
	code, text := codeError, err.Error()
	if errors.Is(err, ErrOverload) {
		code = codeOverload
	}
	text = strings.ToValidUTF8(text[:min(len(text), maxFailureText)], "")
	if err := s.enqueue(typeFailure, code, id, []byte(text)); errors.Is(err, ErrOverload) {
		s.end(faultf(ReasonFlood, "it sends requests faster than it reads the answers: %w", err))
	}
}
