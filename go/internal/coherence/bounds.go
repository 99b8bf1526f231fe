package coherence

import (
	"errors"
	"fmt"
)

// What a peer can cause is bounded (R17). A peer beyond a bound gets an error, which ends its
// session; a process beyond one of its own fails that one commit.

const (
	// MaxOpenEvents is how many events of one writer may be open at a time.
	MaxOpenEvents = 4096
	// MaxDatabaseID is the longest id of a database, in bytes.
	MaxDatabaseID = 256

	// maxOpenBuckets is how many buckets the open events of one writer name together; the writer
	// makes an event over all buckets of one that would name more.
	maxOpenBuckets = 1 << 20

	// A writer without a row in the view may be about to get one, and nobody commits without one.
	// So it has open only what was under way when it began, or when its row was deleted.
	maxStrangeEvents  = 64   // of one writer
	maxStrangeTotal   = 1024 // of all of them
	maxStrangeBuckets = 1 << 16

	// maxWriters is of how many writers without a row it is kept what they have said. Beyond it the
	// one is forgotten whose row has been gone for the longest time.
	maxWriters = 1024
	// maxAbove is how many settled events of one writer are kept one by one, above the first that
	// is not settled.
	maxAbove = MaxOpenEvents
	// maxPacked is of how many writers a message may tell what they have settled.
	maxPacked = 1 << 14
	// maxAsks is how many joiners may wait for an acknowledgement.
	maxAsks = 1024
	// maxToldSettled and maxToldBuckets bound what a joiner keeps of events that were settled
	// before it had its copy, and of notes that it was told of.
	maxToldSettled = 1 << 16
	maxToldBuckets = 1 << 20
	// maxSequence is a count that nobody reaches, and with which nothing overflows.
	maxSequence = 1 << 62
)

// ErrTooManyOpen is the answer to an announcement where [MaxOpenEvents] of this process are open.
var ErrTooManyOpen = errors.New("coherence: too many transactions of this process wait for the answer to COMMIT")

// ErrViolation is what the error of [Machine.Receive] wraps: no honest peer says such a thing.
var ErrViolation = errors.New("coherence: no honest peer says this")

func violation(format string, values ...any) error {
	return fmt.Errorf("%w: %s", ErrViolation, fmt.Sprintf(format, values...))
}

// load is what the open events of one writer amount to.
type load struct{ events, buckets int }

func (l *load) add(e *Event) {
	l.events++
	l.buckets += len(e.Buckets)
}

func (l *load) remove(e *Event) {
	l.events--
	l.buckets -= len(e.Buckets)
}

// loads is that of each writer that has any.
type loads map[Incarnation]*load

func (l loads) of(who Incarnation) load {
	if of := l[who]; of != nil {
		return *of
	}
	return load{}
}

func (l loads) add(e *Event) {
	of := l[e.ID.Writer]
	if of == nil {
		of = &load{}
		l[e.ID.Writer] = of
	}
	of.add(e)
}

// remove is for an event that was added.
func (l loads) remove(e *Event) {
	of := l[e.ID.Writer]
	if of.events == 1 {
		delete(l, e.ID.Writer)
		return
	}
	of.remove(e)
}

// room returns an error if a writer may not open so much more.
func (m *Machine) room(who Incarnation, more load) error {
	open, told := m.load.of(who), m.told.load.of(who)
	events, buckets := open.events+told.events+more.events, open.buckets+told.buckets+more.buckets
	most, widest := MaxOpenEvents, maxOpenBuckets
	if !m.Listed(who) {
		most, widest = maxStrangeEvents, maxStrangeBuckets
		if total := m.strangeEvents() + more.events; total > maxStrangeTotal {
			return violation("%d open events of writers without a row, at most %d are allowed", total, maxStrangeTotal)
		}
	}
	if events > most {
		return violation("%d open events, at most %d are allowed", events, most)
	}
	if buckets > widest {
		return violation("%d buckets in open events, at most %d are allowed", buckets, widest)
	}
	return nil
}

// strangeEvents counts the open events of writers without a row.
func (m *Machine) strangeEvents() (n int) {
	for _, l := range []loads{m.load, m.told.load} {
		for who, of := range l {
			if who != m.cfg.Incarnation && !m.Listed(who) {
				n += of.events
			}
		}
	}
	return n
}
