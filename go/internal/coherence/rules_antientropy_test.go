package coherence

import (
	"testing"
	"time"
)

// The digests and repairs of two members whose tables differ, and when one of them copies anew (R17).

// digest has a member send its digest, with what it has settled.
func (b *bench) digest(from Incarnation, settled map[Incarnation]SettledBy) {
	b.receive(from, &Message{Kind: Digest, Sequence: b.m.table.digest + 2, State: &Snapshot{Settled: settled}})
	b.now = b.now.Add(b.m.cfg.Lease / 2)
	b.view(In, b.join(anna), b.join(berta))
}

func TestAMemberThatKeepsDifferingByOneEventCopiesAnew(t *testing.T) {
	dead := map[Incarnation]SettledBy{77: {Through: 1}}
	b := withBoth(t)
	b.digest(anna, dead)
	b.digest(anna, dead)
	b.digest(berta, dead)
	b.digest(berta, dead)
	b.digest(berta, dead)
	if b.m.join.phase != joined {
		t.Fatal("copies anew after two digests, or because of another member than the eldest")
	}
	if b.digest(anna, dead); b.m.join.phase == joined {
		t.Error("goes on differing")
	}
	if b.m.join.preferred != anna {
		t.Error("copies from another member")
	}

	b = withBoth(t)
	for n := range uint64(10) {
		b.digest(anna, map[Incarnation]SettledBy{berta: {Through: n + 1}})
		b.hear(berta, n, Entry{n + 1, event(berta, n+1, 1), true})
	}
	if b.m.join.phase != joined {
		t.Error("copies anew though each of the events was on its way")
	}

	b = withBoth(t)
	b.digest(anna, dead)
	b.digest(anna, dead)
	b.hear(77, 0, Entry{1, event(77, 1, 1), false})
	for range 10 {
		b.digest(anna, dead)
	}
	if b.m.join.phase != joined {
		t.Error("copies anew though the database decides about the event")
	}
}

// digestBusily has anna send what she has settled, with one more event of berta's each time.
func (b *bench) digestBusily(n uint64, state *Snapshot) {
	b.hear(berta, n-1, Entry{n, event(berta, n, 1), true})
	state.Settled[berta] = SettledBy{Through: n - 1}
	b.receive(anna, &Message{Kind: Digest, Sequence: b.m.table.digest + 2, State: state})
	b.now = b.now.Add(b.m.cfg.Lease / 2)
	b.view(In, b.join(anna), b.join(berta))
}

func TestForgettingAWriterSoonerMakesNoMemberCopyAnew(t *testing.T) {
	const gone = Incarnation(77)
	forgotten, kept := map[Incarnation]SettledBy{}, map[Incarnation]SettledBy{gone: {Through: 5}}
	for what, settled := range map[string][2]map[Incarnation]SettledBy{"here": {forgotten, kept}, "there": {kept, forgotten}} {
		b := withBoth(t)
		for writer, by := range settled[0] {
			b.m.events.settled[writer] = by.unpack()
		}
		for n := range uint64(10) {
			b.digestBusily(n+1, &Snapshot{Settled: settled[1]})
		}
		if b.m.join.phase != joined {
			t.Errorf("copies anew, in a busy cluster, because a writer is forgotten %s", what)
		}
	}
}

func TestAFewOfManyThatDifferFromTheEldestCopyAnewAtATime(t *testing.T) {
	b := withBoth(t)
	rows := []Row{b.join(anna)}
	for n := range Incarnation(62) {
		rows = append(rows, b.join(berta+n))
	}
	compare := func(times int, drawn uint64) {
		b.m.cfg.Random = func() uint64 { return drawn }
		for range times {
			b.view(In, rows...)
			b.receive(anna, &Message{Kind: Digest, Sequence: 2, State: &Snapshot{Settled: b.m.events.settled.pack()}})
			b.now = b.now.Add(b.m.cfg.Lease / 2)
		}
	}
	if compare(10, 1); b.m.join.phase != joined {
		t.Error("copies anew, as all the others do")
	}
	if compare(1, 0); b.m.join.phase == joined {
		t.Error("never copies anew")
	}
}

func TestNobodyCopiesAnewWhileTheEldestAsksItsDatabase(t *testing.T) {
	b := withBoth(t)
	const dead = Incarnation(77)
	b.m.events.settled[dead] = SettledBy{Through: 2}.unpack()
	theirs := &Snapshot{Settled: map[Incarnation]SettledBy{dead: {Through: 1}}, Open: []Event{{ID: EventID{dead, 2}}}}
	for n := range uint64(10) {
		b.digestBusily(n+1, theirs)
	}
	if b.m.join.phase != joined {
		t.Error("copies anew, and has the event in doubt again, though it knows that the event is over")
	}
	theirs.Open = nil
	for n := uint64(11); n < 14; n++ {
		b.digestBusily(n, theirs)
	}
	if b.m.join.phase == joined {
		t.Error("goes on differing")
	}
}

func TestAnEventThatNoDatabaseHereConfirmsIsSettledByACopy(t *testing.T) {
	b := withBoth(t)
	e := over(elsewhere, event(berta, 1, 1))
	b.hear(berta, 0, Entry{1, e, false})
	for range 3 { // anna had its settlement before this process heard of the event
		b.digest(anna, map[Incarnation]SettledBy{berta: {Through: 1}})
	}
	if b.m.join.phase == joined {
		t.Error("goes on differing as long as the writer lives, which announced the event before this process was a member")
	}
}

func TestADigestNamesTheEventsThatTheDatabaseIsAskedAbout(t *testing.T) {
	b := withBoth(t)
	b.hear(77, 0, Entry{1, event(77, 1, 1), false}, Entry{2, over(elsewhere, event(77, 2, 1)), false})
	b.hear(berta, 0, Entry{1, event(77, 1, 1), true})
	b.took(0)
	b.receive(berta, &Message{Kind: Digest, Attempt: 1, Sequence: 2, State: &Snapshot{}})
	for _, sent := range b.took(Send) {
		if sent.Message.Kind == Digest {
			message, err := Decode(sent.Message.Append(nil), b.m.table.Buckets())
			if err != nil || len(message.State.Open) != 1 || message.State.Open[0].ID != (EventID{77, 1}) {
				t.Errorf("says %+v, %v", message, err)
			}
			return
		}
	}
	t.Error("no answer")
}

func TestEventsOfAWriterThatIsLongGoneAreNotRepaired(t *testing.T) {
	b := withBoth(t)
	const gone = Incarnation(77)
	b.hear(gone, 0, Entry{1, event(gone, 1, 1), false}, Entry{2, event(gone, 1, 1), true})
	repairs := func() (n int) {
		b.took(0)
		b.digest(anna, map[Incarnation]SettledBy{})
		for _, sent := range b.took(Send) {
			if sent.Message.Kind == Repair {
				n++
			}
		}
		return n
	}
	if repairs() != 1 {
		t.Error("does not send a member what it lacks")
	}
	for _, later := range []time.Duration{repairFor, forgetAfter} {
		b.now = b.now.Add(later)
		b.view(In, b.join(anna), b.join(berta))
		if repairs() != 0 {
			t.Errorf("after %v it still sends with every digest what the other member refuses, or has forgotten", later)
		}
	}
}

func TestAMemberThatLiesAboutItsVersionsCostsLittle(t *testing.T) {
	b := withBoth(t)
	away := 0
	for end := b.now.Add(100 * b.m.cfg.Lease); b.now < end; {
		b.digest(anna, b.m.events.settled.pack())
		if b.m.join.phase != joined {
			away++
			b.m.join.phase = joined // as if it had its copy
		}
	}
	if away < 2 || away > 30 {
		t.Errorf("copies anew %d times in 100 leases", away)
	}
}

func TestDigestsOfMembersThatAreNotInCountForNothing(t *testing.T) {
	b := withBoth(t)
	a := b.join(anna)
	a.State = Joining
	b.view(In, a)
	b.took(0)
	for _, peer := range []Incarnation{anna, 77} {
		b.do(func() { b.m.Connected(b.now, peer) })
		b.receive(peer, &Message{Kind: Digest, Attempt: 1, Sequence: 2, State: &Snapshot{}})
	}
	b.do(func() { b.m.Connected(b.now, berta) })
	for range 100 {
		b.receive(berta, &Message{Kind: Digest, Attempt: 1, Sequence: 2, State: &Snapshot{}})
	}
	if b.m.join.phase != joined || len(b.took(Send)) > 0 {
		t.Error("answered")
	}
}
