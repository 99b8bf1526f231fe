package coherence

import (
	"cmp"
	"slices"
	"time"
)

// Notes of databases that a process may not look at: a member that looks at them relays them.

// relayedNote is a note that another process has relayed.
type relayedNote struct {
	write   *OutsideWrite
	at      Time // when it was last relayed
	applied bool // the table holds it, and no look has shown it
}

// relay is for a member whose row does not say that all notes are applied. It may not look at their
// database, and is sent them. A member whose heartbeat is overdue is marked out instead: otherwise the
// notes would be kept for as long as it stays in the table.
func (o *outside) relay(now Time, rows []Row, row Row) {
	has := make(map[OutsideID]bool, len(row.Applied))
	for _, id := range row.Applied {
		has[id] = true
	}
	wait := time.Duration(1) // it may be about to say so
	if row.Overdue {
		wait = 0
	}
	var lacking []Entry
	for i := range o.lists {
		for _, w := range o.lists[i].writes {
			if !has[w.ID] && o.isDue(now, rows, w.ID, wait) {
				lacking = append(lacking, Entry{Event: w.event()})
			}
		}
	}
	if len(lacking) > 0 && row.Overdue {
		o.out.act(Action{Kind: MarkOut, To: row.Incarnation, Text: "it does not read what was written from outside", IfOverdue: true})
		return
	}
	o.out.sendInParts(row.Incarnation, Outside, lacking)
}

// relayedReceived takes notes of databases that this process may not look at, from a member whose row says
// that it has applied them. They are kept for a copy that is taken later as well: this process's row may
// seem to say that they are applied, if the database has executed late what was said of the versions
// before.
func (m *Machine) relayedReceived(now Time, from *member, message *Message) {
	if !from.isIn() {
		return
	}
	o := &m.outside
	for i := range message.Entries {
		e := &message.Entries[i].Event
		id := OutsideID(e.ID.Sequence)
		if !slices.Contains(from.row.Applied, id) {
			continue // no view shows it yet, or it is invented
		}
		note := o.relayed[id]
		if note == nil {
			note = &relayedNote{write: o.keep(e)}
			o.relayed[id] = note
		}
		note.at = now
		if m.join.hasCopy() {
			o.applyRelayed(note)
		}
	}
}

// keep returns a note that was relayed. Beyond what is kept of all such notes it is over everything.
func (o *outside) keep(e *Event) *OutsideWrite {
	w := &OutsideWrite{OutsideID(e.ID.Sequence), e.Nonce, e.All, e.Buckets}
	if o.relayedBuckets+len(w.Buckets) > maxBacklogBuckets {
		w.All, w.Buckets = true, nil
	}
	o.relayedBuckets += len(w.Buckets)
	return w
}

// applyRelayed applies a note that was relayed, if the table does not hold it.
func (o *outside) applyRelayed(note *relayedNote) {
	if _, known := o.applied[note.write.ID]; !known {
		note.applied = true
	}
	o.applyNote(note.write, note.at)
}

// packRelayed returns the notes that the table holds only because they were relayed, in order.
func (o *outside) packRelayed() (notes []Event) {
	for _, note := range o.relayed {
		if note.applied {
			notes = append(notes, note.write.event())
		}
	}
	slices.SortFunc(notes, func(a, b Event) int { return cmp.Compare(a.ID.Sequence, b.ID.Sequence) })
	return notes
}

// takeCopy is for a copy, which holds these notes. Of some its sender knows only what was relayed to it.
func (o *outside) takeCopy(now Time, s *Snapshot) {
	o.applied = make(map[OutsideID]Time, len(s.Applied))
	for _, id := range s.Applied {
		o.applied[id] = now
	}
	for _, note := range o.relayed {
		note.applied = false
	}
	for i := range s.Relayed {
		e := &s.Relayed[i]
		if note := o.relayed[OutsideID(e.ID.Sequence)]; note != nil {
			o.relayedBuckets -= len(note.write.Buckets)
		}
		o.relayed[OutsideID(e.ID.Sequence)] = &relayedNote{o.keep(e), now, true}
	}
}
