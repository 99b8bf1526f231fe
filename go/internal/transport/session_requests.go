package transport

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// calls holds the requests of this side that wait for an answer.
type calls struct {
	last atomic.Uint64

	mu      sync.Mutex
	waiting map[uint64]func(result)
	ended   error // why no more can be added, nil while they can
}

type result struct {
	body []byte
	err  error
}

func newCalls() *calls { return &calls{waiting: map[uint64]func(result){}} }

// next returns a new request id.
func (c *calls) next() uint64 { return c.last.Add(1) }

// add waits for the result of a request: done is called with it, once, and must not block.
func (c *calls) add(id uint64, done func(result)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return c.ended
	}
	c.waiting[id] = done
	return nil
}

// take forgets a request, whose answer is dropped if it still comes. It returns nil when
// somebody else has done so.
func (c *calls) take(id uint64) func(result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := c.waiting[id]
	delete(c.waiting, id)
	return done
}

// finish delivers the result of one request, if anybody still waits for it.
func (c *calls) finish(id uint64, r result) {
	if done := c.take(id); done != nil {
		done(r)
	}
}

// end fails all requests with err, those to come as well.
func (c *calls) end(err error) {
	c.mu.Lock()
	if c.ended != nil {
		c.mu.Unlock()
		return
	}
	c.ended = err
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, done := range waiting {
		done(result{err: err})
	}
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
