package coherence

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// R14: rows that a transaction changes which announces nothing, as that of psql does, are noted in
// the database by triggers, in the same transaction. Every look at a database shows its notes, and
// a process bumps what they name before it publishes the deadline that the look gives it. So R2
// alone bounds for how long anybody serves what was there before: a lease from the commit on.
//
// Nobody announces a note and nobody claims it: each process applies it by itself. The nonce is
// that of the note, so whoever has applied the same notes has the same versions.
//
// A note may be deleted when nobody needs it any more: each process says in its row of the members
// table which notes it has applied, and one whose copy (R5) was taken later than that has them in
// it. Four things make that true, and none of them may be missing:
//
//   - A row says so only of the table that its process has now: writing the row as joining forgets
//     what was applied, and it is written only while the row is in.
//   - A joiner applies to its copy what it has seen itself and the copy does not hold.
//   - All rows that are not out have to say so, in one view. Not every process serves every database;
//     who does not look at one is told of its notes by one that does.
//   - Who is out, or has no row, has been so for a lease: it may have read the members table before
//     that, and the notes after they were deleted, and serve by both.

// OutsideID names a note.
type OutsideID uint64

// OutsideWrite is a note: a change of rows that nobody has announced. Its nonce is even, and the same
// at every process.
type OutsideWrite struct {
	ID      OutsideID
	Nonce   uint64
	All     bool     // every bucket: the nonce goes to the epoch
	Buckets []uint32 // distinct; empty when All
}

// outsideMemory is for how many leases after a look has listed it last it is remembered that a note
// was applied: a process whose looks are older would otherwise apply it anew to what it copies.
const outsideMemory = 4

// outside is what is known of notes.
type outside struct {
	lists []noteList // by database
	// applied is which notes the table holds, and when the last look was asked for that has listed
	// them, or another process told of them.
	applied     map[OutsideID]Time
	toldNotes   map[OutsideID]*toldNote
	toldBuckets int                // that toldNotes name
	firstListed map[OutsideID]Time // when a view first showed those that are listed
}

// noteList is which notes there were when a database was looked at last.
type noteList struct {
	asked  Time
	writes []*OutsideWrite
	isNew  bool // no view was taken since
}

// OutsideWrites tells, before [Machine.DatabaseReached] and [Machine.ViewTaken], which notes a look at a
// database has shown: all that there are. Where the process has a copy they are applied at once,
// otherwise as soon as it has one.
func (m *Machine) OutsideWrites(database int, asked Time, writes []*OutsideWrite) {
	if m.cfg.Alone || database < 0 || database >= len(m.lists) || asked < m.lists[database].asked {
		return
	}
	m.lists[database] = noteList{asked, writes, true}
	if m.hasState() {
		m.applyList(&m.lists[database])
	}
}

// applyLists gives a copy that was just taken what it does not hold.
func (m *Machine) applyLists() {
	for i := range m.lists {
		m.applyList(&m.lists[i])
	}
	for _, told := range m.toldNotes {
		m.applyTold(told)
	}
}

func (m *Machine) applyList(list *noteList) {
	for _, w := range list.writes {
		if told := m.toldNotes[w.ID]; told != nil && told.applied {
			// What the database says of a note counts, whatever was told (R17).
			if !told.write.equal(w) {
				m.bump(w)
			}
			told.applied = false
		}
		m.applyNote(w, list.asked)
	}
}

// applyNote applies a note that was seen at some time, unless it is applied already.
func (m *Machine) applyNote(w *OutsideWrite, at Time) {
	seen, known := m.applied[w.ID]
	if !known {
		m.bump(w)
	}
	m.applied[w.ID] = max(seen, at)
}

// bump applies a note. What it touches may have been written after an event that is open was
// committed, so that must not be pushed (R8).
func (m *Machine) bump(w *OutsideWrite) {
	if w.All {
		m.allSeen++
		m.table.add(wordEpoch, w.Nonce)
	}
	for _, b := range w.Buckets {
		m.table.add(TableHeader+int(b), w.Nonce)
		if d := m.doubt[b]; d != nil {
			d.contended = true
		}
	}
}

func (w *OutsideWrite) event() Event {
	return Event{ID: EventID{Sequence: uint64(w.ID)}, Nonce: w.Nonce, All: w.All, Buckets: w.Buckets}
}

func (w *OutsideWrite) equal(v *OutsideWrite) bool {
	return w.Nonce == v.Nonce && w.All == v.All && slices.Equal(w.Buckets, v.Buckets)
}

// packApplied returns the notes that the table holds, in order.
func (m *Machine) packApplied() []OutsideID { return slices.Sorted(maps.Keys(m.applied)) }

// watchOutside is for the view that was just taken: it says which notes are applied here, and has
// those deleted that everybody has applied.
func (m *Machine) watchOutside(now Time, rows []Row) {
	m.forgetOld(now)
	if m.phase == joined && m.listed && m.state == In {
		m.acknowledge(rows)
	}
	if m.phase == joined && m.listed && m.state == In && len(m.firstListed) > 0 {
		m.forgetNotes(now, rows)
		for _, row := range rows {
			if row.State != Out && row.Incarnation != m.cfg.Incarnation {
				m.reachDeaf(now, rows, row)
			}
		}
	}
	for i := range m.lists {
		m.lists[i].isNew = false
	}
}

// forgetOld forgets what no look has listed, and nobody has told of, for a while.
func (m *Machine) forgetOld(now Time) {
	listed := make(map[OutsideID]Time)
	for i := range m.lists {
		for _, w := range m.lists[i].writes {
			listed[w.ID] = now
			if since, known := m.firstListed[w.ID]; known {
				listed[w.ID] = since
			}
		}
	}
	m.firstListed = listed
	old := func(_ OutsideID, seen Time) bool { return now >= seen.Add(outsideMemory*m.cfg.Lease) }
	for id, told := range m.toldNotes {
		if old(id, told.at) {
			m.toldBuckets -= len(told.write.Buckets)
			delete(m.toldNotes, id)
		}
	}
	maps.DeleteFunc(m.applied, func(id OutsideID, seen Time) bool {
		_, isListed := listed[id]
		return !isListed && old(id, seen)
	})
}

// acknowledge has the own row say which notes are applied here of those that there are. A process
// that has its copy has applied all that it has listed, or was told of.
func (m *Machine) acknowledge(rows []Row) {
	ids := slices.AppendSeq(slices.Collect(maps.Keys(m.firstListed)), maps.Keys(m.toldNotes))
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for _, row := range rows {
		if row.Incarnation == m.cfg.Incarnation && !slices.Equal(slices.Sorted(slices.Values(row.Applied)), ids) {
			m.act(Action{Kind: AcknowledgeOutside, Outside: ids})
		}
	}
}

// acts tells whether this process does what has to be done about a note after it has been listed
// for some leases. One process is enough: the one with the least incarnation of those that are in.
// It may not look at this database; then all do that look at it, two leases later.
func (m *Machine) acts(now Time, rows []Row, id OutsideID, leases time.Duration) bool {
	if !m.isLeast(rows) {
		leases += 2
	}
	return now >= m.firstListed[id].Add(leases*m.cfg.Lease)
}

func (m *Machine) isLeast(rows []Row) bool {
	return !slices.ContainsFunc(rows, func(row Row) bool {
		return row.State == In && row.Incarnation < m.cfg.Incarnation
	})
}

// reachDeaf is for a member whose row does not say that all notes are applied. It may not look at
// their database, and is told of them; one that gives no sign of life is marked out, as they would
// be kept for as long as it stays in the table.
func (m *Machine) reachDeaf(now Time, rows []Row, row Row) {
	has := make(map[OutsideID]bool, len(row.Applied))
	for _, id := range row.Applied {
		has[id] = true
	}
	wait := time.Duration(1) // it may be about to say so
	if row.Overdue {
		wait = 0
	}
	var lacking []Entry
	for i := range m.lists {
		for _, w := range m.lists[i].writes {
			if !has[w.ID] && m.acts(now, rows, w.ID, wait) {
				lacking = append(lacking, Entry{Event: w.event()})
			}
		}
	}
	if len(lacking) > 0 && row.Overdue {
		m.act(Action{Kind: MarkOut, To: row.Incarnation, Text: "it does not read what was written from outside", IfOverdue: true})
		return
	}
	for part := range slices.Chunk(lacking, entriesInMessage) {
		m.send(row.Incarnation, &Message{Kind: Outside, Entries: part})
	}
}

// forgetNotes has those notes deleted that everybody has applied who is not out.
func (m *Machine) forgetNotes(now Time, rows []Row) {
	if m.mayServeBehind(now) {
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
	for database := range m.lists {
		var ids []OutsideID
		for _, w := range m.lists[database].writes {
			if m.lists[database].isNew && held[w.ID] == holders && m.acts(now, rows, w.ID, 0) {
				ids = append(ids, w.ID)
			}
		}
		if len(ids) > 0 {
			slices.SortFunc(ids, cmp.Compare[OutsideID])
			m.act(Action{Kind: ForgetOutside, Number: database, Outside: ids})
		}
	}
}

// mayServeBehind tells whether a process may serve by a view from before it was put out, or before
// its row was deleted.
func (m *Machine) mayServeBehind(now Time) bool {
	return m.mayLack(now) || slices.ContainsFunc(m.order, func(p *member) bool {
		return p.row.State == Out && !p.gone && now < p.outSince.Add(m.outlastLease())
	})
}
