package transport

import (
	"errors"
	"fmt"
	"maps"
	"sync"
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
