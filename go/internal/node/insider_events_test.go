package node

import (
	"slices"
	"testing"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// attacked returns two processes; the reader keeps a key that the writer will write.
func attacked(t *testing.T) (in *insider, writer, reader *process, key string) {
	t.Helper()
	db := newDatabase()
	all := cluster(t, db, unixAddress(t), unixAddress(t))
	writer, reader = all[0], all[1]
	key = keyOf(reader, 0)
	reader.cached(key, "old")
	return newInsider(t, ""), writer, reader, key
}

// overwritten makes the writer write the key, and checks that the reader sees it.
func overwritten(t *testing.T, in *insider, writer, reader *process, key string) {
	t.Helper()
	writer.write(key, "new", false)
	wantTruth(t, reader, key, "after the write")
	in.Close()
	wantUnharmed(t, writer, reader)
	wantTruth(t, reader, key, "in the end")
}

func TestAnInsiderAnnouncesInAnothersName(t *testing.T) {
	in, writer, reader, key := attacked(t)
	e := nextOf(writer, otherBucket(reader, key))
	if in.say(reader, in.entries(announcement(e))) {
		t.Error("a session announced an event of another writer and goes on")
	}
	eventually(t, "it is counted", func() bool { return reader.mesh.Transport.Stats().Faults[transport.ReasonViolation] > 0 })
	overwritten(t, in, writer, reader, key)
}

func TestAnInsiderSettlesInAdvance(t *testing.T) {
	for what, kind := range map[string]coherence.MessageKind{"as its own log": coherence.Events, "as anti-entropy": coherence.Repair} {
		t.Run(what, func(t *testing.T) {
			in, writer, reader, key := attacked(t)
			message := in.entries(settlement(nextOf(writer, otherBucket(reader, key))))
			message.Kind = kind
			in.say(reader, message)
			overwritten(t, in, writer, reader, key)
		})
	}
}

// A settlement of an event that was never announced is refused: it would make the versions differ.
func TestAnInsiderSettlesAnEventThatWasNotAnnounced(t *testing.T) {
	in, writer, reader, key := attacked(t)
	before, _ := reader.Memory.table.Version(bucketOf(reader, key))
	for _, kind := range []coherence.MessageKind{coherence.Events, coherence.Repair} {
		e := coherence.Event{ID: coherence.EventID{Writer: 4711, Sequence: 1}, Nonce: 2, Database: "db",
			Buckets: []uint32{bucketOf(reader, key)}}
		message := in.entries(settlement(e))
		message.Kind = kind
		in.say(reader, message)
	}
	if after, _ := reader.Memory.table.Version(bucketOf(reader, key)); after != before {
		t.Errorf("the version of a key is %d, it was %d", after, before)
	}
	overwritten(t, in, writer, reader, key)
}

// Between announcement and COMMIT only the writer and the database can end the doubt.
func TestAnInsiderSettlesAnOpenEvent(t *testing.T) {
	for what, kind := range map[string]coherence.MessageKind{"as its own log": coherence.Events, "as anti-entropy": coherence.Repair} {
		t.Run(what, func(t *testing.T) {
			in, writer, reader, key := attacked(t)
			e := nextOf(writer, bucketOf(reader, key))
			commit := writer.beginWrite(key)
			message := in.entries(settlement(e))
			message.Kind = kind
			in.say(reader, message)
			wantTruth(t, reader, key, "before COMMIT") // and would be kept under the new version
			commit("new")
			wantTruth(t, reader, key, "after COMMIT")
			in.Close()
			wantUnharmed(t, writer, reader)
			wantTruth(t, reader, key, "in the end")
		})
	}
}

// An event is what was announced here: a settlement with other buckets, or over everything, leaves no
// doubt behind and no counter below zero.
func TestAnInsiderSettlesOtherBucketsThanItHasAnnounced(t *testing.T) {
	t.Parallel() // it waits
	in, writer, reader, key := attacked(t)
	whole := func(e *coherence.Event) { e.All, e.Buckets = true, nil }
	for _, change := range []func(announced, settled *coherence.Event){
		func(a, s *coherence.Event) { s.Buckets = []uint32{a.Buckets[0] ^ 1} },
		func(a, s *coherence.Event) { s.Buckets = []uint32{a.Buckets[0] &^ 1, a.Buckets[0] | 1} },
		func(_, s *coherence.Event) { s.Buckets = nil },
		func(_, s *coherence.Event) { whole(s) },
		func(a, _ *coherence.Event) { whole(a) },
		func(_, s *coherence.Event) { s.All = true },
		func(_, s *coherence.Event) { s.Nonce += 2 },
	} {
		for range 2 {
			a := in.next(bucketOf(reader, key))
			s := a
			change(&a, &s)
			in.say(reader, in.entries(announcement(a)))
			in.say(reader, in.entries(settlement(s)), in.entries(settlement(s)))
		}
		e := in.next()
		whole(&e)
		in.say(reader, in.entries(announcement(e)), in.entries(settlement(e)), in.entries(settlement(e)))
	}
	if n := reader.mesh.Transport.Stats().Faults[transport.ReasonPanic]; n > 0 {
		t.Errorf("%d panics", n)
	}
	overwritten(t, in, writer, reader, key)
}

// An event that an insider leaves open ends when the database says so, whatever database it has named.
func TestAnInsiderLeavesEventsOpen(t *testing.T) {
	t.Parallel() // it waits
	in, writer, reader, key := attacked(t)
	for _, database := range []string{"db", "", "elsewhere"} {
		for _, p := range []*process{writer, reader} {
			one, all := in.next(bucketOf(reader, key)), in.next()
			one.Database, all.Database, all.All = database, database, true
			in.say(p, in.entries(announcement(one)), in.entries(announcement(all)))
		}
	}
	overwritten(t, in, writer, reader, key)
}

// A note that is sent in advance with other buckets must not hide the real one.
func TestAnInsiderSendsNotes(t *testing.T) {
	in, writer, reader, key := attacked(t)
	const id = coherence.OutsideID(123456)
	in.say(reader, &coherence.Message{Kind: coherence.Outside, Entries: []coherence.Entry{{
		Event: coherence.Event{ID: coherence.EventID{Sequence: uint64(id)}, Nonce: 2, Buckets: []uint32{otherBucket(reader, key)}}}}})
	in.Close()
	reader.db.with(func() {
		reader.db.values[key] = "outside"
		reader.db.notes[id] = note{keys: []string{key}, rows: 1}
	})
	eventually(t, "a view shows the write from outside", func() bool {
		reader.driver.Lock()
		defer reader.driver.Unlock()
		return slices.Contains(reader.queries.Outside.Listed[coherence.DeadlineWord(0)], id)
	})
	wantTruth(t, reader, key, "after a write from outside")
	wantUnharmed(t, writer, reader)
}

// Notes from an insider do not appear in a row as applied.
func TestAnInsiderSendsManyNotes(t *testing.T) {
	in, writer, reader, _ := attacked(t)
	for range 5 {
		var entries []coherence.Entry
		for range 20_000 {
			event := coherence.Event{ID: coherence.EventID{Sequence: random() >> 1}, Nonce: random() &^ 1, Buckets: []uint32{1}}
			entries = append(entries, coherence.Entry{Event: event})
		}
		in.say(reader, &coherence.Message{Kind: coherence.Outside, Entries: entries})
	}
	reader.writeOutsideAndWait()
	if n := len(reader.db.row(reader.incarnationID()).Applied); n > 1000 {
		t.Errorf("its row names %d writes from outside", n)
	}
	in.Close()
	wantUnharmed(t, writer, reader)
}

// writeOutsideAndWait waits until the row of a process says that a note is applied.
func (p *process) writeOutsideAndWait() {
	p.t.Helper()
	p.db.writeOutside(note{keys: []string{"from outside"}, rows: 1}, "v")
	eventually(p.t, "a write from outside is in the row", func() bool { return len(p.db.row(p.incarnationID()).Applied) > 0 })
}
