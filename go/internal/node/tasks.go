package node

import (
	"context"
	"sync"
	"sync/atomic"
)

// tasks bounds the reads that are under way at once, of this process and of its peers.
type tasks struct {
	guard   *guard
	wg      *sync.WaitGroup
	life    context.Context
	running atomic.Int64
}

// enter counts one more task; it is false when there are too many: the caller then reads the
// database, or its peer does, instead of waiting in ever more memory.
func (t *tasks) enter() bool {
	if t.running.Add(1) > maxReads {
		t.running.Add(-1)
		return false
	}
	return true
}

func (t *tasks) leave() { t.running.Add(-1) }

// run runs f, which may wait, on a goroutine of its own and under a deadline. It is false when too
// many tasks are under way.
func (t *tasks) run(f func(ctx context.Context)) bool {
	if !t.enter() {
		return false
	}
	t.wg.Go(func() {
		defer t.leave()
		ctx, cancel := context.WithTimeout(t.life, loadTimeout)
		defer cancel()
		t.guard.run(func() { f(ctx) })
	})
	return true
}
