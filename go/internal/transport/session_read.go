package transport

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

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
