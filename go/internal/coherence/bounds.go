package coherence

import (
	"errors"
	"fmt"
)

// Everything that a peer can cause is bounded (R17). A peer that goes beyond a bound gets an error, which
// ends its session; a process that goes beyond a bound of its own fails that one commit.

const (
	// MaxOpenEvents is how many events of one writer may be open at a time.
	MaxOpenEvents = 4096
	// MaxDatabaseID is the longest id of a database, in bytes.
	MaxDatabaseID = 256

	// maxOpenBuckets is how many buckets the open events of one writer name together. A writer makes an
	// event that would name more an event over all buckets.
	maxOpenBuckets = 1 << 20

	// A writer without a row in the view may be about to get one, and no process commits without one. So
	// its open events are only those that were under way when it started, or when its row was deleted.
	maxRowlessEvents  = 64   // of one writer
	maxRowlessTotal   = 1024 // of all of them
	maxRowlessBuckets = 1 << 16

	// maxWriters is of how many writers without a row anything is kept. Beyond it the writer is forgotten
	// whose row has been gone for the longest time.
	maxWriters = 1024
	// maxAbove is how many settled events of one writer are kept one by one, above the first that is not
	// settled.
	maxAbove = MaxOpenEvents
	// maxSettledWriters is of how many writers a message may say which events are settled.
	maxSettledWriters = 1 << 14
	// maxJoinRequests is how many joiners may wait for an acknowledgement.
	maxJoinRequests = 1024
	// maxBacklogEvents and maxBacklogBuckets bound what a joiner keeps of events that were settled before it
	// had its copy. As many buckets are kept of notes that others relay.
	maxBacklogEvents  = 1 << 16
	maxBacklogBuckets = 1 << 20
	// maxSequence is a count that no writer reaches, and with which nothing overflows.
	maxSequence = 1 << 62
)

// ErrTooManyOpen is the error of an announcement while [MaxOpenEvents] of this process are open.
var ErrTooManyOpen = errors.New("coherence: too many transactions of this process wait for the answer to COMMIT")

// ErrViolation is wrapped by the errors of [Machine.Receive]: no honest peer says such a thing.
var ErrViolation = errors.New("coherence: no honest peer says this")

func violation(format string, values ...any) error {
	return fmt.Errorf("%w: %s", ErrViolation, fmt.Sprintf(format, values...))
}

// usage is what the open events of one writer amount to.
type usage struct{ events, buckets int }

func (u *usage) add(e *Event) {
	u.events++
	u.buckets += len(e.Buckets)
}

func (u *usage) remove(e *Event) {
	u.events--
	u.buckets -= len(e.Buckets)
}

// usages holds the usage of each writer that has open events.
type usages map[Incarnation]*usage

func (us usages) of(writer Incarnation) usage {
	if u := us[writer]; u != nil {
		return *u
	}
	return usage{}
}

func (us usages) add(e *Event) {
	u := us[e.ID.Writer]
	if u == nil {
		u = &usage{}
		us[e.ID.Writer] = u
	}
	u.add(e)
}

// remove takes back the add of an event.
func (us usages) remove(e *Event) {
	u := us[e.ID.Writer]
	if u.remove(e); u.events == 0 {
		delete(us, e.ID.Writer)
	}
}

// checkRoom returns an error if a writer may not have so much more open.
func (m *Machine) checkRoom(writer Incarnation, more usage) error {
	open, heard := m.events.usage.of(writer), m.events.backlog.usage.of(writer)
	events, buckets := open.events+heard.events+more.events, open.buckets+heard.buckets+more.buckets
	allowed := usage{MaxOpenEvents, maxOpenBuckets}
	if !m.Listed(writer) {
		allowed = usage{maxRowlessEvents, maxRowlessBuckets}
		if total := m.rowlessEvents() + more.events; total > maxRowlessTotal {
			return violation("%d open events of writers without a row, at most %d are allowed", total, maxRowlessTotal)
		}
	}
	if events > allowed.events {
		return violation("%d open events, at most %d are allowed", events, allowed.events)
	}
	if buckets > allowed.buckets {
		return violation("%d buckets in open events, at most %d are allowed", buckets, allowed.buckets)
	}
	return nil
}

// rowlessEvents counts the open events of writers without a row.
func (m *Machine) rowlessEvents() (n int) {
	for _, us := range []usages{m.events.usage, m.events.backlog.usage} {
		for writer, u := range us {
			if writer != m.cfg.Incarnation && !m.Listed(writer) {
				n += u.events
			}
		}
	}
	return n
}
