package transport

import (
	"sync"
	"time"
)

// logEvery is the least time between two log lines of one kind, so that a peer that comes again
// and again cannot fill the log.
const logEvery = 10 * time.Second

// Throttle lets through one log line of each kind in ten seconds. Its kinds are names in the
// source, so that they are few. The zero Throttle is ready to use.
type Throttle struct {
	mu    sync.Mutex
	muted map[string]mute
}

// mute is when a kind was last let through and how often it was not since then.
type mute struct {
	since time.Time
	times int
}

// Allow tells whether a line of a kind is to be logged now, and how many of its kind were not since
// the last one that was.
func (t *Throttle) Allow(kind string) (muted int, ok bool) { return t.allow(kind, time.Now()) }

func (t *Throttle) allow(kind string, now time.Time) (muted int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, known := t.muted[kind]
	if known && now.Sub(last.since) < logEvery {
		last.times++
		t.muted[kind] = last
		return 0, false
	}
	if t.muted == nil {
		t.muted = make(map[string]mute)
	}
	t.muted[kind] = mute{since: now}
	return last.times, true
}
