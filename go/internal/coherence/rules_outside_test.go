package coherence

import (
	"slices"
	"testing"
	"time"
)

// Writes from outside (R14).

// later is a member that started later than the bench, as its incarnation says.
const later = Incarnation(200)

// newOutside is a bench with two databases.
func newOutside(t *testing.T) *bench {
	b := newBench(t)
	b.m.AddDatabase()
	b.m.AddDatabase()
	b.out = nil
	return b
}

// shows has a look at the first database show notes, and takes a view.
func (b *bench) shows(writes []*OutsideWrite, rows ...Row) {
	b.do(func() {
		b.m.OutsideWrites(0, b.now, writes)
		b.m.Reached(0, b.now)
		b.m.Reading(b.now, b.now, rows, nil)
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
	b := newOutside(t)
	b.shows(nil, mine(In))
	one, _ := b.version(1)
	two, _ := b.version(2)
	deadline := b.m.table.DatabaseDeadline(0)
	b.wait(time.Second)
	b.do(func() { b.m.OutsideWrites(0, b.now, []*OutsideWrite{named(1, 1)}) })
	if v, settled := b.version(1); v != one+1<<32 || !settled || b.m.table.DatabaseDeadline(0) != deadline {
		t.Errorf("version %x after %x, settled %v, and the deadline is another", v, one, settled)
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
		t.Errorf("version %x after %x: over everything", v, two)
	}
}

func TestAnOlderLookReplacesNone(t *testing.T) {
	b := newOutside(t)
	early := b.now
	b.wait(time.Second)
	b.shows([]*OutsideWrite{named(1, 1)}, mine(In))
	before, _ := b.version(2)
	b.do(func() {
		b.m.OutsideWrites(0, early, []*OutsideWrite{named(2, 2)})
		b.m.OutsideWrites(7, b.now, []*OutsideWrite{named(3, 2)})  // a database that there is not
		b.m.OutsideWrites(-1, b.now, []*OutsideWrite{named(4, 2)}) // nor this one
	})
	if v, _ := b.version(2); v != before || len(b.m.lists[0].writes) != 1 {
		t.Error("taken")
	}
}

func TestTheVersionsDoNotDependOnTheOrderOfNotes(t *testing.T) {
	notes := []*OutsideWrite{named(1, 1, 2), all(2), named(3, 2)}
	var digests [2]uint64
	for i := range digests {
		b := newOutside(t)
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

func TestWhatWasWrittenFromOutsideMeanwhileIsNotPushed(t *testing.T) {
	for what, note := range map[string]*OutsideWrite{"named": named(1, 1), "everything": all(1)} {
		b := newOutside(t)
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
		b.do(func() { // a note from before says nothing of a later event
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
	b.do(func() { b.m.Linked(b.now, anna) })
	empty, _ := b.version(1)
	b.shows([]*OutsideWrite{named(1, 1), named(2, 2)}, mine(Joining), a)
	if v, _ := b.version(1); v != empty || len(b.ids(AcknowledgeOutside)) != 0 {
		t.Error("applies or acknowledges a note before it has its copy")
	}
	b.do(func() { b.m.Receive(b.now, anna, &Message{Kind: Word, Attempt: b.m.attempt}) })
	copied := &Snapshot{Epoch: 2, Buckets: map[uint32]uint64{2: 2 << 32, 3: 3 << 32}, Applied: []OutsideID{2, 3}}
	b.do(func() { b.m.Receive(b.now, anna, &Message{Kind: Copy, Attempt: b.m.attempt, State: copied}) })
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

func TestWhatWasAppliedBeforeTheCopySaysNothingOfIt(t *testing.T) {
	b := putOutAndBack(t, Row{Incarnation: anna, Address: "there", State: In})
	b.m.AddDatabase()
	b.m.lists[0].writes = []*OutsideWrite{named(1, 1)}
	b.m.applied[1], b.m.applied[2] = b.now, b.now
	b.passDeadline(Row{Incarnation: anna, Address: "there", State: In})
	state := &Snapshot{Epoch: 2}
	b.do(func() { b.m.Receive(b.now, anna, &Message{Kind: Copy, Attempt: b.m.attempt, State: state}) })
	if v, _ := b.version(1); v != 2+1<<32 || !slices.Equal(b.m.packApplied(), []OutsideID{1}) {
		t.Errorf("version %x, applied %v", v, b.m.packApplied())
	}
}

func TestTheRowSaysWhichNotesAreApplied(t *testing.T) {
	b := newOutside(t)
	notes := []*OutsideWrite{named(2, 2), named(1, 1)}
	b.shows(notes, mine(In))
	b.wantIDs("once per view", AcknowledgeOutside, []OutsideID{1, 2})
	b.shows(notes, mine(In, 2))
	b.wantIDs("again, until a view shows it", AcknowledgeOutside, []OutsideID{1, 2})
	b.shows(notes, mine(In, 2, 1))
	b.wantIDs("a view shows it", AcknowledgeOutside)
	b.shows(notes[:1], mine(In, 1, 2))
	b.wantIDs("one was deleted", AcknowledgeOutside, []OutsideID{2})
	b.shows(nil, mine(In, 2))
	b.wantIDs("all were deleted", AcknowledgeOutside, []OutsideID{})
	b.shows(notes, mine(Out))
	b.wantIDs("it is out", AcknowledgeOutside)
}

func TestANoteIsDeletedWhenEverybodyHasAppliedIt(t *testing.T) {
	b := newOutside(t)
	notes := []*OutsideWrite{named(1, 1), named(2, 2)}
	silent := theirs(In, 1, 2)
	silent.Silent = true
	for _, c := range []struct {
		what string
		rows []Row
		want [][]OutsideID
	}{
		{"the own row does not say so", []Row{mine(In), theirs(In, 1, 2)}, nil},
		{"another one's does not", []Row{mine(In, 1, 2), theirs(In)}, nil},
		{"one note is applied by both", []Row{mine(In, 1, 2), theirs(In, 2, 5, 5)}, [][]OutsideID{{2}}},
		{"a joiner has applied nothing", []Row{mine(In, 1, 2), theirs(Joining)}, nil},
		{"nor has one that is elected", []Row{mine(In, 1, 2), theirs(Boot)}, nil},
		{"all are", []Row{mine(In, 1, 2), theirs(In, 2, 1)}, [][]OutsideID{{1, 2}}},
		{"one that is silent has applied it too", []Row{mine(In, 1, 2), silent}, [][]OutsideID{{1, 2}}},
		{"another one is less", []Row{mine(In, 1, 2), {Incarnation: 1, State: In, Applied: []OutsideID{1, 2}}}, nil},
	} {
		b.shows(notes, c.rows...)
		b.wantIDs(c.what, ForgetOutside, c.want...)
	}
	b = newOutside(t)
	b.shows(notes, mine(In, 1, 2), theirs(In, 1, 2))
	for _, a := range b.took(ForgetOutside) {
		if a.Number != 0 {
			t.Errorf("in database %d", a.Number)
		}
	}
	b.read(In)
	b.wantIDs("no look has come with this view", ForgetOutside)
}

func TestANoteIsKeptForALeaseAfterSomebodyWasPutOut(t *testing.T) {
	for what, rows := range map[string][]Row{"out": {mine(In, 1), theirs(Out)}, "its row is gone": {mine(In, 1)}} {
		b := newOutside(t)
		notes := []*OutsideWrite{named(1, 1)}
		b.shows(notes, mine(In), theirs(In))
		b.took(ForgetOutside)
		for begin := b.now; ; {
			b.shows(notes, rows...)
			deleted := len(b.took(ForgetOutside)) > 0
			if over := b.now >= begin.Add(b.m.outlastLease()); deleted != over {
				t.Errorf("%s: deleted %v after %v", what, deleted, time.Duration(b.now-begin))
			} else if over {
				break
			}
			b.wait(100 * time.Millisecond)
		}
	}
	b := newOutside(t)
	b.shows([]*OutsideWrite{named(1, 1)}, mine(In), theirs(In))
	b.do(func() { b.m.Gone(b.now, later) })
	b.shows([]*OutsideWrite{named(1, 1)}, mine(In, 1), theirs(Out))
	b.wantIDs("it is proved to have ended", ForgetOutside, []OutsideID{1})
}

func TestANoteIsKeptForALeaseWhereRowsAreMissing(t *testing.T) {
	b := newOutside(t)
	notes := []*OutsideWrite{named(1, 1)}
	b.do(func() { b.m.Missing(b.now, b.now, 1, 7) })
	b.shows(notes, mine(In, 1))
	b.wantIDs("a row is missing", ForgetOutside)
	for end := b.now.Add(b.m.outlastLease()); b.now < end; b.wait(time.Second) {
		b.do(func() { b.m.Missing(b.now, b.now, 1, 7) })
		b.shows(notes, mine(In, 1))
		b.wantIDs("a row is missing", ForgetOutside)
	}
	b.shows(notes, mine(In, 1))
	b.wantIDs("for a lease", ForgetOutside, []OutsideID{1})
}

func TestWhoIsSilentAndReadsNoNotesIsMarkedOut(t *testing.T) {
	b := newOutside(t)
	notes := []*OutsideWrite{named(1, 1)}
	deaf := theirs(In)
	b.shows(notes, mine(In, 1), deaf)
	if len(b.took(MarkOut)) != 0 {
		t.Error("marks out one that gives signs of life")
	}
	deaf.Silent = true
	b.shows(notes, mine(In, 1), deaf)
	if got := b.took(MarkOut); len(got) != 1 || got[0].To != later || !got[0].Silent {
		t.Errorf("does not mark it out, or even if it is heard of: %v", got)
	}
	deaf.Applied = []OutsideID{1}
	b.shows(notes, mine(In, 1), deaf)
	if len(b.took(MarkOut)) != 0 {
		t.Error("marks out one that has applied all")
	}
}

func TestWhoDoesNotLookAtADatabaseIsToldOfItsNotes(t *testing.T) {
	b := newOutside(t)
	notes := []*OutsideWrite{named(1, 1), all(2)}
	b.do(func() { b.m.Linked(b.now, later) })
	told := func() (messages []*Message) {
		for _, a := range b.took(Send) {
			if a.Message.Kind == Outside {
				messages = append(messages, a.Message)
			}
		}
		return messages
	}
	b.shows(notes, mine(In, 1, 2), theirs(In))
	if len(told()) > 0 {
		t.Error("tells one that may be about to look")
	}
	for end := b.now.Add(b.m.cfg.Lease); b.now < end; b.wait(time.Second) {
		b.shows(notes, mine(In, 1, 2), theirs(In))
		told()
	}
	b.shows(notes, mine(In, 1, 2), theirs(In, 1))
	messages := told()
	if len(messages) != 1 || len(messages[0].Entries) != 1 {
		t.Fatalf("tells %v", messages)
	}
	b.shows(notes, mine(In, 1, 2), theirs(Out))
	if len(told()) > 0 {
		t.Error("tells one that is out")
	}
	other := newOutside(t)
	before, _ := other.version(3)
	other.do(func() { other.m.Receive(other.now, later, messages[0]) })
	other.do(func() { other.m.Receive(other.now, later, messages[0]) })
	if got, _ := other.version(3); got-before != all(2).Nonce {
		t.Errorf("adds %d", got)
	}
	other.shows(nil, mine(In), theirs(In))
	other.wantIDs("one that was told", AcknowledgeOutside, []OutsideID{2})
	other.shows(notes, mine(In, 2), theirs(In))
	other.wantIDs("and looks now", AcknowledgeOutside, []OutsideID{1, 2})
	if got, _ := other.version(3); got-before != all(2).Nonce {
		t.Errorf("applies again what it was told of: %d", got)
	}
	for end := other.now.Add((outsideMemory + 1) * other.m.cfg.Lease); other.now < end; other.wait(time.Second) {
		other.shows(nil, mine(In, 2), theirs(In))
	}
	other.took(AcknowledgeOutside)
	other.shows(nil, mine(In, 2), theirs(In))
	other.wantIDs("long after", AcknowledgeOutside, []OutsideID{})
}

func TestAJoinerTakesNoNotesFromOthers(t *testing.T) {
	b := newOutside(t)
	b.do(func() { b.m.startOver(b.now) })
	b.do(func() {
		entry := Entry{Event: Event{ID: EventID{Sequence: 1}, Nonce: 2, All: true}}
		b.m.Receive(b.now, later, &Message{Kind: Outside, Entries: []Entry{entry}})
	})
	if len(b.m.applied) > 0 {
		t.Error("its copy may lack them")
	}
}

func TestWhoIsNotTheLeastActsLater(t *testing.T) {
	b := newOutside(t)
	notes := []*OutsideWrite{named(1, 1)}
	rows := []Row{mine(In, 1), {Incarnation: 1, State: In, Applied: []OutsideID{1}}}
	for end := b.now.Add(2 * b.m.cfg.Lease); b.now < end; b.wait(time.Second) {
		b.shows(notes, rows...)
		b.wantIDs("the other one deletes it", ForgetOutside)
	}
	b.shows(notes, rows...)
	b.wantIDs("the other one does not look at this database", ForgetOutside, []OutsideID{1})
}

func TestAnAppliedNoteIsRememberedForAWhile(t *testing.T) {
	b := newOutside(t)
	notes := []*OutsideWrite{named(1, 1)}
	b.shows(notes, mine(In))
	before, _ := b.version(1)
	b.wait(10 * b.m.cfg.Lease)
	b.read(In) // the database does not answer, so it lists the note still
	b.shows(notes, mine(In))
	b.shows(nil, mine(In))
	end := b.now.Add(outsideMemory * b.m.cfg.Lease)
	for ; b.now < end; b.wait(time.Second) {
		b.shows(nil, mine(In))
		if len(b.m.packApplied()) != 1 {
			t.Fatalf("forgotten %v too early", time.Duration(end-b.now))
		}
	}
	if b.shows(nil, mine(In)); len(b.m.packApplied()) != 0 {
		t.Error("remembered for ever")
	}
	if v, _ := b.version(1); v != before {
		t.Error("applied twice")
	}
}

func TestTablesMayDifferAsLongAsTheNotesDo(t *testing.T) {
	b := newOutside(t)
	a := b.join(anna)
	b.shows([]*OutsideWrite{named(1, 1)}, mine(In), a)
	compare := func(applied ...OutsideID) {
		state := &Snapshot{Settled: b.m.packSettled(), Applied: applied}
		b.do(func() {
			b.m.Receive(b.now, anna, &Message{Kind: Compare, Sequence: b.m.table.digest + 2, State: state})
		})
	}
	compare()
	compare(2)
	compare(1, 2)
	if b.m.phase != standing {
		t.Fatal("joins again though the other one has not applied the same notes")
	}
	if compare(1); b.m.phase == standing {
		t.Error("does not join again where nothing is lacking")
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
