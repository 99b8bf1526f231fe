package coherence

import (
	"maps"
	"slices"
	"time"
)

// R14: rows that a transaction changes which announces nothing, as that of psql does, are noted in the
// database by triggers, in the same transaction. Every look at a database shows its notes, and a process
// bumps the buckets that they name before it publishes the deadline that the look gives it. So R2 alone
// bounds for how long a process serves what was there before: a lease from the commit on.
//
// No process announces a note and none claims it: each applies it by itself. The nonce is that of the
// note, so all processes that have applied the same notes have the same versions.
//
// A note may be deleted when no process needs it any more: each process says in its row of the members
// table which notes it has applied, and a process whose copy (R5) was taken later than that has them in
// the copy. Four things make that true, and none of them may be missing:
//
//   - A row says so only of the table that its process has now: writing the row as joining forgets what was
//     applied, and it is written only while the row is in.
//   - A joiner applies to its copy what it has seen itself and the copy does not hold.
//   - All rows that are not out have to say so, in one view. Not every process serves every database; one
//     that does not look at a database is sent its notes by one that does.
//   - A process that is out, or has no row, has been so for a lease: it may have read the members table
//     before that, and the notes after they were deleted, and serve by both.

// OutsideID identifies a note.
type OutsideID uint64

// OutsideWrite is a note: a change of rows that no process has announced. Its nonce is even, and the same
// at every process.
type OutsideWrite struct {
	ID      OutsideID
	Nonce   uint64
	All     bool     // every bucket: the nonce goes to the epoch
	Buckets []uint32 // distinct; empty when All
}

func (w *OutsideWrite) event() Event {
	return Event{ID: EventID{Sequence: uint64(w.ID)}, Nonce: w.Nonce, All: w.All, Buckets: w.Buckets}
}

func (w *OutsideWrite) equal(v *OutsideWrite) bool {
	return w.Nonce == v.Nonce && w.All == v.All && slices.Equal(w.Buckets, v.Buckets)
}

// outsideMemory is for how many leases after a look has last listed a note it is remembered that it was
// applied: otherwise a process whose looks are older would apply it again to what it copies.
const outsideMemory = 4

// outside is what is known of notes.
type outside struct {
	cfg    *Config
	out    *outbox
	view   *view
	events *events

	lists []noteList // by database
	// applied is which notes the table holds, and when the last look was asked for that has listed them,
	// or another process last relayed them.
	applied        map[OutsideID]Time
	relayed        map[OutsideID]*relayedNote
	relayedBuckets int                // that relayed notes name
	firstListed    map[OutsideID]Time // when a view first showed those that are listed
}

// noteList is which notes there were when a database was last looked at.
type noteList struct {
	asked  Time
	writes []*OutsideWrite
	isNew  bool // no view was taken since
}

// OutsideWrites reports, before [Machine.DatabaseReached] and [Machine.ViewTaken], which notes a look at a
// database has shown: all that there are. If the process has a copy they are applied at once, otherwise as
// soon as it has one.
func (m *Machine) OutsideWrites(database int, asked Time, writes []*OutsideWrite) {
	o := &m.outside
	if m.cfg.Alone || database < 0 || database >= len(o.lists) || asked < o.lists[database].asked {
		return
	}
	o.lists[database] = noteList{asked, writes, true}
	if m.join.hasCopy() {
		o.applyList(&o.lists[database])
	}
}

// applyLists applies to a copy that was just taken what it does not hold.
func (o *outside) applyLists() {
	for i := range o.lists {
		o.applyList(&o.lists[i])
	}
	for _, note := range o.relayed {
		o.applyRelayed(note)
	}
}

func (o *outside) applyList(list *noteList) {
	for _, w := range list.writes {
		if note := o.relayed[w.ID]; note != nil && note.applied {
			// The note of the database counts, whatever was relayed (R17).
			if !note.write.equal(w) {
				o.events.bump(w.event())
			}
			note.applied = false
		}
		o.applyNote(w, list.asked)
	}
}

// applyNote applies a note that was seen at some time, unless it is applied already.
func (o *outside) applyNote(w *OutsideWrite, at Time) {
	seen, known := o.applied[w.ID]
	if !known {
		o.events.bump(w.event())
	}
	o.applied[w.ID] = max(seen, at)
}

// packApplied returns the notes that the table holds, in order.
func (o *outside) packApplied() []OutsideID { return slices.Sorted(maps.Keys(o.applied)) }

// watchOutside is for the view that was just taken: it has this process's row say which notes are applied here,
// and has those deleted that every process has applied.
func (m *Machine) watchOutside(now Time, rows []Row) {
	o := &m.outside
	o.forgetOld(now)
	if m.join.phase == joined && m.view.listed && m.view.state == In {
		o.acknowledge(rows)
		if len(o.firstListed) > 0 {
			o.deleteApplied(now, rows)
			for _, row := range rows {
				if row.State != Out && row.Incarnation != m.cfg.Incarnation {
					o.relay(now, rows, row)
				}
			}
		}
	}
	for i := range o.lists {
		o.lists[i].isNew = false
	}
}

// forgetOld forgets what no look has listed, and no process has relayed, for a while.
func (o *outside) forgetOld(now Time) {
	listed := make(map[OutsideID]Time)
	for i := range o.lists {
		for _, w := range o.lists[i].writes {
			listed[w.ID] = now
			if since, known := o.firstListed[w.ID]; known {
				listed[w.ID] = since
			}
		}
	}
	o.firstListed = listed
	old := func(_ OutsideID, seen Time) bool { return now >= seen.Add(outsideMemory*o.cfg.Lease) }
	for id, note := range o.relayed {
		if old(id, note.at) {
			o.relayedBuckets -= len(note.write.Buckets)
			delete(o.relayed, id)
		}
	}
	maps.DeleteFunc(o.applied, func(id OutsideID, seen Time) bool {
		_, isListed := listed[id]
		return !isListed && old(id, seen)
	})
}

// acknowledge has this process's row say which of the existing notes are applied here. A process that has
// its copy has applied all that it has listed, or that were relayed to it.
func (o *outside) acknowledge(rows []Row) {
	ids := slices.AppendSeq(slices.Collect(maps.Keys(o.firstListed)), maps.Keys(o.relayed))
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for _, row := range rows {
		if row.Incarnation == o.cfg.Incarnation && !slices.Equal(slices.Sorted(slices.Values(row.Applied)), ids) {
			o.out.act(Action{Kind: AcknowledgeOutside, Outside: ids})
		}
	}
}

// isDue reports whether this process does what has to be done about a note after it has been listed for
// some leases. One process is enough: of those that are in, the one with the least incarnation. It may not
// look at this database; then all that look at it do so, two leases later.
func (o *outside) isDue(now Time, rows []Row, id OutsideID, leases time.Duration) bool {
	if !o.isLeast(rows) {
		leases += 2
	}
	return now >= o.firstListed[id].Add(leases*o.cfg.Lease)
}

func (o *outside) isLeast(rows []Row) bool {
	return !slices.ContainsFunc(rows, func(row Row) bool {
		return row.State == In && row.Incarnation < o.cfg.Incarnation
	})
}

// deleteApplied has those notes deleted that every process has applied that is not out.
func (o *outside) deleteApplied(now Time, rows []Row) {
	if o.view.mayServeUnseen(now) {
		return
	}
	holders, held := 0, make(map[OutsideID]int) // held by so many rows, of the first so many
	for _, row := range rows {
		if row.State == Out {
			continue
		}
		for _, id := range row.Applied {
			if held[id] == holders {
				held[id]++
			}
		}
		holders++
	}
	for database := range o.lists {
		var ids []OutsideID
		for _, w := range o.lists[database].writes {
			if o.lists[database].isNew && held[w.ID] == holders && o.isDue(now, rows, w.ID, 0) {
				ids = append(ids, w.ID)
			}
		}
		if len(ids) > 0 {
			slices.Sort(ids)
			o.out.act(Action{Kind: ForgetOutside, Number: database, Outside: ids})
		}
	}
}
