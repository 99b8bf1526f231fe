package transport

import (
	"sync"
	"sync/atomic"
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
