package transport

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// logEvery is the least time between two log lines for one reason, so that a peer that
// comes again and again cannot fill the log.
const logEvery = 10 * time.Second

// faults counts faults by reason and logs them, each reason at most once in logEvery.
type faults struct {
	log func(level, text string)

	mu     sync.Mutex
	counts map[Reason]uint64
	muted  map[Reason]mute
}

// mute is when a reason was last logged and how often it was not since then.
type mute struct {
	since time.Time
	times int
}

func isStranger(err error) bool {
	var found *fault
	return errors.As(err, &found) && found.reason == ReasonStranger
}

func newFaults(log func(level, text string)) *faults {
	return &faults{log: log, counts: map[Reason]uint64{}, muted: map[Reason]mute{}}
}

// note counts and logs err if there is a fault in it; remote says whose.
func (f *faults) note(remote string, err error) {
	var found *fault
	if !errors.As(err, &found) {
		return
	}
	muted, logNow := f.count(found.reason, time.Now())
	if !logNow {
		return
	}
	text := fmt.Sprintf("connection with %s closed: %v", remote, err)
	if muted > 0 {
		text += fmt.Sprintf(" (and %d more of this kind since the last such line)", muted)
	}
	f.write("warning", text)
}

// count counts one fault. It returns whether that is to be logged now, and how many of its
// kind were not since the last that was.
func (f *faults) count(reason Reason, now time.Time) (muted int, logNow bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[reason]++
	last, known := f.muted[reason]
	if known && now.Sub(last.since) < logEvery {
		last.times++
		f.muted[reason] = last
		return 0, false
	}
	f.muted[reason] = mute{since: now}
	return last.times, true
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
