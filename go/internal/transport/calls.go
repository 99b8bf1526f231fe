package transport

import "sync"

// calls holds the requests of this side that wait for an answer.
type calls struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan result
	ended   error // why no more can be added, nil while they can
}

type result struct {
	body []byte
	err  error
}

func newCalls() *calls { return &calls{waiting: map[uint64]chan result{}} }

// add returns a new request id and the channel that gets its one result.
func (c *calls) add() (uint64, <-chan result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return 0, nil, c.ended
	}
	c.last++
	done := make(chan result, 1)
	c.waiting[c.last] = done
	return c.last, done, nil
}

// remove forgets a request, whose answer is dropped if it still comes.
func (c *calls) remove(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// finish delivers the answer of one request, if anybody still waits for it.
func (c *calls) finish(id uint64, r result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done, ok := c.waiting[id]; ok {
		delete(c.waiting, id)
		done <- r
	}
}

// end fails all requests with err, those to come as well.
func (c *calls) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return
	}
	c.ended = err
	for _, done := range c.waiting {
		done <- result{err: err}
	}
	c.waiting = nil
}
