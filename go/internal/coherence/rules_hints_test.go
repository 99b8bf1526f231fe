package coherence

import (
	"testing"
	"time"
)

// Events over databases that not every process serves, and what others say of them and of notes (R17).

const elsewhere = "elsewhere" // a database that the bench does not serve

func over(database string, e Event) Event {
	e.Database = database
	return e
}

func TestAnEventOverADatabaseThatIsNotServedPutsNothingInDoubt(t *testing.T) {
	b := withBoth(t)
	e := over(elsewhere, event(anna, 1, 1))
	all := Event{ID: EventID{anna, 2}, Nonce: 4, Database: elsewhere, All: true}
	before, _ := b.version(1)
	b.hear(anna, 0, Entry{1, e, false}, Entry{2, all, false})
	b.wantDoubt("it is not served", 1, false)
	b.do(func() { b.m.Serve(elsewhere) })
	b.wantDoubt("it is served now", 1, true)
	b.wantDoubt("everything is in doubt", 7, true)
	b.do(func() { b.m.Unserve(elsewhere) })
	b.wait(2 * time.Second)
	b.wantDoubt("a reader may have loaded a deadline before", 7, true)
	b.view(In, b.join(anna), b.join(berta))
	b.wait(2 * time.Second)
	b.wantDoubt("no reader uses its keys any more", 7, false)
	b.hear(anna, 2, Entry{3, e, true}, Entry{4, all, true})
	if after, ok := b.version(1); after != before+e.Nonce+all.Nonce || !ok {
		t.Errorf("version %x, %x before, in doubt %v", after, before, !ok)
	}
	if len(b.m.events.open) != 0 || len(b.m.events.doubt.causes) != 0 {
		t.Error("something is left of them")
	}
}

func TestAnOwnEventIsInDoubtWhateverIsServed(t *testing.T) {
	b := withBoth(t)
	var id EventID
	b.do(func() { id = b.mustAnnounce(elsewhere, false, []uint32{1}) })
	b.wantDoubt("the event of this process", 1, true)
	b.do(func() { b.m.Lost(id) })
	b.wait(time.Second)
	if asked := b.took(OpenTransactions); len(asked) == 0 || asked[0].Database != elsewhere {
		t.Errorf("asked %v", asked)
	}
}

// unconfirmed returns a bench that believes what berta says of anna's event over a database that it does not
// serve.
func unconfirmed(t *testing.T) (b *bench, e Event) {
	b = withBoth(t)
	e = over(elsewhere, event(anna, 1, 1))
	before, _ := b.version(1)
	a := b.join(anna)
	b.hear(anna, 0, Entry{1, e, false})
	b.hear(berta, 0, Entry{1, e, true})
	if after, _ := b.version(1); after != before {
		t.Error("believed though the writer is in and has not settled it")
	}
	a.State = Out
	b.view(In, a, b.join(berta))
	b.hear(berta, 1, Entry{2, e, true})
	b.hear(berta, 2, Entry{3, e, true})
	if after, _ := b.version(1); after != before+e.Nonce {
		t.Errorf("version %x, %x before", after, before)
	}
	return b, e
}

func TestASettlementThatNobodyHereCanConfirmStaysOpenForOthers(t *testing.T) {
	b, _ := unconfirmed(t)
	before, _ := b.version(1)
	if s := b.m.snapshot(); len(s.Open) != 0 || len(s.Bumped) != 1 {
		t.Fatalf("a copy shows %v as open and %v as bumped", s.Open, s.Bumped)
	}
	other := newJoiner(t, 8)
	other.do(func() { other.m.Serve(elsewhere) })
	other.do(func() { other.m.enter(other.now, b.m.snapshot()) })
	b.do(func() { b.m.Serve(elsewhere) })
	for what, at := range map[string]*bench{"here": b, "at one that has copied": other} {
		at.do(func() { at.m.Entered(at.now, true, nil) })
		at.wantDoubt(what, 1, true)
		at.view(In)
		at.wait(1500 * time.Millisecond)
		at.do(func() { at.m.OpenTransactions(at.now, elsewhere, nil, nil) })
		at.wantDoubt(what+", confirmed", 1, false)
		if after, _ := at.version(1); after != before {
			t.Errorf("%s: bumped twice, %x and before %x", what, after, before)
		}
	}
}

func TestTheWriterItselfConfirmsItsEvent(t *testing.T) {
	b, e := unconfirmed(t)
	before, _ := b.version(1)
	b.hear(anna, 1, Entry{2, e, true})
	if after, _ := b.version(1); after != before || len(b.m.events.open) != 0 {
		t.Errorf("version %x, %x before, %d open", after, before, len(b.m.events.open))
	}
}

func TestANoteIsRelayedOnlyByAMemberThatHasAppliedIt(t *testing.T) {
	b := withNotes(t)
	note := named(7, 1)
	relay := func() {
		b.receive(later, &Message{Kind: Outside, Entries: []Entry{{Event: note.event()}}})
	}
	for what, row := range map[string]Row{"in, and has not applied it": theirs(In, 8), "out": theirs(Out, 7)} {
		b.shows(nil, mine(In), row)
		if relay(); len(b.m.outside.relayed)+len(b.m.outside.applied) > 0 {
			t.Errorf("believes a member that is %s", what)
		}
	}
	b.shows(nil, mine(In), theirs(In, 7))
	if relay(); len(b.m.outside.applied) != 1 {
		t.Error("does not believe a member that has applied it")
	}
}

func TestTheDatabaseDecidesAboutARelayedNote(t *testing.T) {
	b := withNotes(t)
	b.shows(nil, mine(In), theirs(In, 7))
	false7, true7 := named(7, 1), named(7, 2)
	b.receive(later, &Message{Kind: Outside, Entries: []Entry{{Event: false7.event()}}})
	copier := withNotes(t)
	copier.do(func() { copier.m.enter(copier.now, b.m.snapshot()) })
	for what, at := range map[string]*bench{"here": b, "at one that has copied": copier} {
		before, _ := at.version(2)
		at.do(func() { at.m.OutsideWrites(0, at.now, []*OutsideWrite{true7}) })
		at.do(func() { at.m.OutsideWrites(0, at.now, []*OutsideWrite{true7}) })
		if after, _ := at.version(2); after != before+true7.Nonce {
			t.Errorf("%s: version %x, %x before", what, after, before)
		}
		if s := at.m.snapshot(); len(s.Relayed) != 0 {
			t.Errorf("%s: still counts as relayed", what)
		}
	}
}

func TestADigestIsAnsweredOnceInAWhile(t *testing.T) {
	b := withBoth(t)
	b.took(0)
	answers := func() (n int) {
		for range 100 {
			b.receive(berta, &Message{Kind: Digest, Attempt: 1, Sequence: 2, State: &Snapshot{}})
		}
		for _, a := range b.took(Send) {
			if a.Message.Kind == Digest {
				n++
			}
		}
		return n
	}
	if n := answers(); n != 1 {
		t.Errorf("%d answers to a hundred digests", n)
	}
	b.now = b.now.Add(b.m.cfg.Lease / 2)
	if n := answers(); n != 1 {
		t.Errorf("%d answers later", n)
	}
}
