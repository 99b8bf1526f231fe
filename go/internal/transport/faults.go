package transport

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// faults counts faults by reason and logs them, each reason at most once in logEvery.
type faults struct {
	log      func(level, text string)
	throttle Throttle

	mu     sync.Mutex
	counts map[Reason]uint64
}

func isStranger(err error) bool {
	var found *fault
	return errors.As(err, &found) && found.reason == ReasonNotAdmitted
}

func newFaults(log func(level, text string)) *faults {
	return &faults{log: log, counts: map[Reason]uint64{}}
}

// note counts and logs err if there is a fault in it; remote says whose. What this side is to blame
// for is an error, and has its stack.
func (f *faults) note(remote string, err error) {
	var found *fault
	if !errors.As(err, &found) {
		return
	}
	defer f.count(found.reason) // who sees the count finds the line in the log
	muted, logNow := f.throttle.Allow(string(found.reason))
	if !logNow {
		return
	}
	text := fmt.Sprintf("connection with %s closed: %v", remote, err)
	if muted > 0 {
		text += fmt.Sprintf(" (and %d more of this kind since the last such line)", muted)
	}
	var panicked *Panicked
	if errors.As(err, &panicked) {
		f.write("error", text+"\n"+panicked.Stack)
		return
	}
	f.write("warning", text)
}

func (f *faults) count(reason Reason) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[reason]++
}

// write logs one line. A log function that panics costs its line, nothing else.
func (f *faults) write(level, text string) {
	if f.log == nil {
		return
	}
	defer func() { _ = recover() }()
	f.log(level, text)
}

func (f *faults) snapshot() map[Reason]uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.counts)
}

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
