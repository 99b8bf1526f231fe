package transport

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// faults counts faults by reason and logs them, each reason at most once in LogEvery.
type faults struct {
	log      func(level, text string)
	throttle Throttle

	mu     sync.Mutex
	counts map[Reason]uint64
}

func newFaults(log func(level, text string)) *faults {
	return &faults{log: log, counts: map[Reason]uint64{}}
}

// record counts and logs err if it wraps a fault; remote is the other end of the connection. A panic
// is this side's own fault, so it is logged as an error and with its stack.
func (f *faults) record(remote string, err error) {
	var found *fault
	if !errors.As(err, &found) {
		return
	}
	defer f.count(found.reason) // last: whoever sees the count finds the line in the log
	suppressed, ok := f.throttle.Allow(string(found.reason))
	if !ok {
		return
	}
	text := fmt.Sprintf("connection with %s closed: %v", remote, err)
	if suppressed > 0 {
		text += fmt.Sprintf(" (and %d more of this kind since the last such line)", suppressed)
	}
	var panicked *Panicked
	if errors.As(err, &panicked) {
		f.writeLog("error", text+"\n"+panicked.Stack)
		return
	}
	f.writeLog("warning", text)
}

func isNotAdmitted(err error) bool {
	var found *fault
	return errors.As(err, &found) && found.reason == ReasonNotAdmitted
}

func (f *faults) count(reason Reason) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[reason]++
}

// writeLog logs one line. A panic in the caller's log function loses that line and nothing else.
func (f *faults) writeLog(level, text string) {
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

// LogEvery is the shortest time between two log lines of one kind, so that a peer that connects
// again and again cannot fill the log.
const LogEvery = 10 * time.Second

// Throttle allows one log line of each kind in ten seconds. The kinds are constants of the source
// code, so that there are few. The zero Throttle is ready to use.
type Throttle struct {
	mu    sync.Mutex
	kinds map[string]suppression
}

// suppression is when a line of one kind was last allowed and how many were suppressed since then.
type suppression struct {
	since time.Time
	lines int
}

// Allow reports whether a line of a kind may be logged now and, if so, how many lines of that kind
// were suppressed since the last one.
func (t *Throttle) Allow(kind string) (suppressed int, ok bool) { return t.allow(kind, time.Now()) }

func (t *Throttle) allow(kind string, now time.Time) (suppressed int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, known := t.kinds[kind]
	if known && now.Sub(last.since) < LogEvery {
		last.lines++
		t.kinds[kind] = last
		return 0, false
	}
	if t.kinds == nil {
		t.kinds = make(map[string]suppression)
	}
	t.kinds[kind] = suppression{since: now}
	return last.lines, true
}
