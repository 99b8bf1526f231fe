package coherence

import (
	"slices"
	"testing"
	"time"
)

// Writes from outside (R14).

// later is a member with a greater incarnation than the bench.
const later = Incarnation(200)

// withNotes returns a bench with two databases.
func withNotes(t *testing.T) *bench {
	b := newBench(t)
	b.m.AddDatabase()
	b.m.AddDatabase()
	b.out = nil
	return b
}

// shows takes a view with a look at the first database that shows notes.
func (b *bench) shows(writes []*OutsideWrite, rows ...Row) {
	b.do(func() {
		b.m.OutsideWrites(0, b.now, writes)
		b.m.DatabaseReached(0, b.now)
		b.m.ViewTaken(b.now, b.now, rows, nil)
	})
}

func mine(state State, applied ...OutsideID) Row {
	return Row{Incarnation: self, Address: "own", State: state, Applied: applied}
}

func theirs(state State, applied ...OutsideID) Row {
	return Row{Incarnation: later, Address: "there", State: state, Applied: applied}
}

func named(id OutsideID, buckets ...uint32) *OutsideWrite {
	return &OutsideWrite{ID: id, Nonce: uint64(id) << 32, Buckets: buckets}
}

func all(id OutsideID) *OutsideWrite {
	return &OutsideWrite{ID: id, Nonce: uint64(id) << 32, All: true}
}

// ids returns the notes of every action of a kind, and forgets all actions.
func (b *bench) ids(kind ActionKind) (ids [][]OutsideID) {
	for _, a := range b.took(kind) {
		ids = append(ids, a.Outside)
	}
	return ids
}

func (b *bench) wantIDs(what string, kind ActionKind, want ...[]OutsideID) {
	b.t.Helper()
	if got := b.ids(kind); !slices.EqualFunc(got, want, slices.Equal) {
		b.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestANoteIsAppliedOnceAndBeforeTheDeadlineOfItsLook(t *testing.T) {
	b := withNotes(t)
	b.shows(nil, mine(In))
	one, _ := b.version(1)
	two, _ := b.version(2)
	deadline := b.m.table.DatabaseDeadline(0)
	b.wait(time.Second)
	b.do(func() { b.m.OutsideWrites(0, b.now, []*OutsideWrite{named(1, 1)}) })
	if v, settled := b.version(1); v != one+1<<32 || !settled || b.m.table.DatabaseDeadline(0) != deadline {
		t.Errorf("version %x after %x, settled %v, or the deadline has changed", v, one, settled)
	}
	for range 3 {
		b.shows([]*OutsideWrite{named(1, 1)}, mine(In))
	}
	if v, _ := b.version(1); v != one+1<<32 {
		t.Errorf("version %x after %x: more than once", v, one)
	}
	if v, _ := b.version(2); v != two {
		t.Error("bumps what the note does not name")
	}
	b.shows([]*OutsideWrite{named(1, 1), all(2)}, mine(In))
	if v, _ := b.version(2); v != two+2<<32 {
		t.Errorf("version %x after %x: the note is over everything", v, two)
	}
}

func TestAnOlderLookReplacesNone(t *testing.T) {
	b := withNotes(t)
	early := b.now
	b.wait(time.Second)
	b.shows([]*OutsideWrite{named(1, 1)}, mine(In))
	before, _ := b.version(2)
	b.do(func() {
		b.m.OutsideWrites(0, early, []*OutsideWrite{named(2, 2)})
		b.m.OutsideWrites(7, b.now, []*OutsideWrite{named(3, 2)})  // no such database
		b.m.OutsideWrites(-1, b.now, []*OutsideWrite{named(4, 2)}) // nor this one
	})
	if v, _ := b.version(2); v != before || len(b.m.outside.lists[0].writes) != 1 {
		t.Error("taken")
	}
}

func TestTheVersionsDoNotDependOnTheOrderOfNotes(t *testing.T) {
	notes := []*OutsideWrite{named(1, 1, 2), all(2), named(3, 2)}
	var digests [2]uint64
	for i := range digests {
		b := withNotes(t)
		for _, n := range notes {
			b.shows([]*OutsideWrite{n}, mine(In))
		}
		slices.Reverse(notes)
		_, digests[i] = b.m.Versions()
	}
	if digests[0] != digests[1] {
		t.Errorf("%x and %x", digests[0], digests[1])
	}
}

func TestAKeyThatWasWrittenFromOutsideMeanwhileIsNotPushed(t *testing.T) {
	for what, note := range map[string]*OutsideWrite{"named": named(1, 1), "everything": all(1)} {
		b := withNotes(t)
		b.shows(nil, mine(In))
		id := b.announce(1, 2)
		b.shows([]*OutsideWrite{note}, mine(In))
		if v, settled := b.version(1); settled {
			t.Errorf("%s: out of doubt, with version %x, before the event is settled", what, v)
		}
		want := []uint32{2}
		if note.All {
			want = nil
		}
		b.do(func() {
			if got := b.m.Settle(b.now, id); !slices.Equal(got, want) {
				t.Errorf("%s: pushes %v, want %v", what, got, want)
			}
		})
		b.do(func() { // an earlier note does not matter for a later event
			if got := b.m.Settle(b.now, b.announce(1)); len(got) != 1 {
				t.Errorf("%s: pushes nothing any more", what)
			}
		})
	}
}

func TestAJoinerAppliesWhatItsCopyDoesNotHold(t *testing.T) {
	b := newJoiner(t, 8)
	b.m.AddDatabase()
	a := Row{Incarnation: anna, Address: "there", State: In}
	b.do(func() { b.m.Connected(b.now, anna) })
	empty, _ := b.version(1)
	b.shows([]*OutsideWrite{named(1, 1), named(2, 2)}, mine(Joining), a)
	if v, _ := b.version(1); v != empty || len(b.ids(AcknowledgeOutside)) != 0 {
		t.Error("applies or acknowledges a note before it has its copy")
	}
	b.receive(anna, &Message{Kind: JoinAck, Attempt: b.m.join.attempt})
	copied := &Snapshot{Epoch: 2, Buckets: map[uint32]uint64{2: 2 << 32, 3: 3 << 32}, Applied: []OutsideID{2, 3}}
	b.receive(anna, &Message{Kind: Copy, Attempt: b.m.join.attempt, State: copied})
	b.do(func() { b.m.OutsideWrites(0, b.now, []*OutsideWrite{named(1, 1), named(2, 2), named(3, 3)}) })
	for bucket := range uint32(3) {
		if v, _ := b.version(bucket + 1); v != 2+uint64(bucket+1)<<32 {
			t.Errorf("bucket %d has version %x", bucket+1, v)
		}
	}
	if got := b.m.snapshot().Applied; !slices.Equal(got, []OutsideID{1, 2, 3}) {
		t.Errorf("a copy of it holds %v", got)
	}
}

func TestNotesAppliedBeforeTheCopyAreForgotten(t *testing.T) {
	b := putOutAndBack(t, Row{Incarnation: anna, Address: "there", State: In})
	b.m.AddDatabase()
	b.m.outside.lists[0].writes = []*OutsideWrite{named(1, 1)}
	b.m.outside.applied[1], b.m.outside.applied[2] = b.now, b.now
	b.passDeadline(Row{Incarnation: anna, Address: "there", State: In})
	state := &Snapshot{Epoch: 2}
	b.receive(anna, &Message{Kind: Copy, Attempt: b.m.join.attempt, State: state})
	if v, _ := b.version(1); v != 2+1<<32 || !slices.Equal(b.m.outside.packApplied(), []OutsideID{1}) {
		t.Errorf("version %x, applied %v", v, b.m.outside.packApplied())
	}
}

func TestAnAppliedNoteIsRememberedForAWhile(t *testing.T) {
	b := withNotes(t)
	notes := []*OutsideWrite{named(1, 1)}
	b.shows(notes, mine(In))
	before, _ := b.version(1)
	b.wait(10 * b.m.cfg.Lease)
	b.view(In) // the database does not answer, so the note is still listed
	b.shows(notes, mine(In))
	b.shows(nil, mine(In))
	end := b.now.Add(outsideMemory * b.m.cfg.Lease)
	for ; b.now < end; b.wait(time.Second) {
		b.shows(nil, mine(In))
		if len(b.m.outside.packApplied()) != 1 {
			t.Fatalf("forgotten %v too early", time.Duration(end-b.now))
		}
	}
	if b.shows(nil, mine(In)); len(b.m.outside.packApplied()) != 0 {
		t.Error("remembered for ever")
	}
	if v, _ := b.version(1); v != before {
		t.Error("applied twice")
	}
}

func TestTablesMayDifferAsLongAsTheNotesDo(t *testing.T) {
	b := withNotes(t)
	a := b.join(anna)
	b.shows([]*OutsideWrite{named(1, 1)}, mine(In), a)
	compare := func(applied ...OutsideID) {
		state := &Snapshot{Settled: b.m.events.settled.pack(), Applied: applied}
		b.receive(anna, &Message{Kind: Digest, Sequence: b.m.table.digest + 2, State: state})
		b.now = b.now.Add(b.m.cfg.Lease / 2)
		b.shows([]*OutsideWrite{named(1, 1)}, mine(In), a)
	}
	compare()
	compare(2)
	compare(1, 2)
	if b.m.join.phase != joined {
		t.Fatal("joins again though the other member has not applied the same notes")
	}
	if compare(1); b.m.join.phase == joined {
		t.Error("does not join again though both have applied the same")
	}
}

func TestAProcessAloneReadsNoNotes(t *testing.T) {
	m := New(Config{Incarnation: self, Alone: true, Random: func() uint64 { return 2 }},
		NewTable(make([]uint64, TableHeader+8)), 1)
	m.AddDatabase()
	before, _ := m.table.Version(1)
	m.OutsideWrites(0, 1, []*OutsideWrite{all(1)})
	if after, _ := m.table.Version(1); after != before {
		t.Error("bumps")
	}
}
