package mesh

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Breakers keep a slow owner from slowing down all reads of its keys: after a request that it did not
// answer in time it is not asked for a pause, which doubles up to a bound. They are safe for
// concurrent use.
type Breakers struct {
	mu    sync.Mutex
	pause map[string]pause
}

type pause struct {
	until time.Time
	next  time.Duration
}

const (
	firstPause   = 500 * time.Millisecond
	longestPause = 5 * time.Second
)

// Open reports whether the owner at an address is not to be asked now.
func (b *Breakers) Open(address string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.pause[address].until)
}

// Record records the outcome of a request; only a request without an answer in time begins a pause.
func (b *Breakers) Record(address string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		delete(b.pause, address)
		return
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		return
	}
	if b.pause == nil {
		b.pause = make(map[string]pause)
	}
	p := b.pause[address]
	if time.Now().Before(p.until) {
		return // many requests that waited together are one failure
	}
	p.next = min(max(2*p.next, firstPause), longestPause)
	p.until = time.Now().Add(p.next)
	b.pause[address] = p
}

// keep forgets the addresses at which no process owns keys any more.
func (b *Breakers) keep(owners []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for address := range b.pause {
		if !slices.Contains(owners, address) {
			delete(b.pause, address)
		}
	}
}
