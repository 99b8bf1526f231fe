package transport

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Call sends a request and waits for its answer, which belongs to the caller. Its errors:
// *RemoteError when the peer's handler failed or the peer is overloaded; ErrOverload when
// the queue here is full; ErrTooLarge; ErrClosed when the session ends; and the context's
// error when the context ends first. The peer then still works on the request, and its answer
// is dropped.
func (s *Session) Call(ctx context.Context, kind FrameKind, body ...[]byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	id, done := s.calls.next(), make(chan result, 1)
	if err := s.calls.add(id, func(r result) { done <- r }); err != nil {
		return nil, err
	}
	if err := s.enqueue(typeRequest, kind, id, body...); err != nil {
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

// CallAsync sends a request and does not wait. done is called once, with the answer or an error as
// of Call, by the goroutine that reads the session or by any other, possibly before CallAsync
// returns; it must not block. Without an answer within the given time the error is
// [context.DeadlineExceeded].
func (s *Session) CallAsync(within time.Duration, done func(body []byte, err error), kind FrameKind, body ...[]byte) {
	id := s.calls.next()
	timer := time.AfterFunc(within, func() {
		err := Guard(func() error { s.calls.finish(id, result{err: context.DeadlineExceeded}); return nil })
		s.transport.faults.record(s.remote, err)
	})
	finish := func(r result) {
		timer.Stop()
		done(r.body, r.err)
	}
	if err := s.calls.add(id, finish); err != nil {
		finish(result{err: err})
		return
	}
	if err := s.enqueue(typeRequest, kind, id, body...); err != nil {
		s.calls.finish(id, result{err: err})
	}
}

// calls holds the requests of this side that are not answered yet.
type calls struct {
	last atomic.Uint64

	mu        sync.Mutex
	callbacks map[uint64]func(result)
	ended     error // why no more can be added; nil while they can
}

type result struct {
	body []byte
	err  error
}

func newCalls() *calls { return &calls{callbacks: map[uint64]func(result){}} }

// next returns a new request id.
func (c *calls) next() uint64 { return c.last.Add(1) }

// add registers a request: done is called once, with its result, and must not block.
func (c *calls) add(id uint64, done func(result)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return c.ended
	}
	c.callbacks[id] = done
	return nil
}

// take removes a request and returns its callback, or nil if the request was removed before. An
// answer that arrives later is dropped.
func (c *calls) take(id uint64) func(result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := c.callbacks[id]
	delete(c.callbacks, id)
	return done
}

// finish delivers the result of a request, unless the request was removed before.
func (c *calls) finish(id uint64, r result) {
	if done := c.take(id); done != nil {
		done(r)
	}
}

// end fails all requests with err, and all later ones as well.
func (c *calls) end(err error) {
	c.mu.Lock()
	if c.ended != nil {
		c.mu.Unlock()
		return
	}
	c.ended = err
	callbacks := c.callbacks
	c.callbacks = nil
	c.mu.Unlock()
	for _, done := range callbacks {
		done(result{err: err})
	}
}
