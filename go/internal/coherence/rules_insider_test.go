package coherence

import (
	"errors"
	"testing"
	"time"
)

// The limits of a process that has the cluster's secret: it may speak of itself, not of others (R17).

// refuse has the machine receive what no honest peer says, of which no trace may stay.
func (b *bench) refuse(what string, from Incarnation, message *Message) {
	b.t.Helper()
	open, digest, heard := len(b.m.events.open), b.m.table.digest, b.m.writers.heard[from]
	err := b.m.Receive(b.now, from, message)
	if !errors.Is(err, ErrViolation) {
		b.t.Errorf("%s is taken: %v", what, err)
	}
	if len(b.m.events.open) != open || b.m.table.digest != digest || b.m.writers.heard[from] != heard {
		b.t.Errorf("%s is refused, and a trace of it stays", what)
	}
}

func (b *bench) wantDoubt(what string, bucket uint32, want bool) {
	b.t.Helper()
	if _, settled := b.version(bucket); settled == want {
		b.t.Errorf("%s: bucket %d in doubt: %v", what, bucket, !settled)
	}
}

func event(writer Incarnation, n uint64, buckets ...uint32) Event {
	return Event{ID: EventID{writer, n}, Nonce: 2 * n, Database: "db", Buckets: buckets}
}

func says(entries ...Entry) *Message { return &Message{Kind: Events, Entries: entries} }

// withBoth returns a bench with anna and berta in.
func withBoth(t *testing.T) *bench {
	b := newBench(t)
	b.view(In, b.join(anna), b.join(berta))
	b.took(0)
	return b
}

func TestNobodyAnnouncesForAnother(t *testing.T) {
	b := withBoth(t)
	mine := Entry{1, event(anna, 1, 1), false}
	b.refuse("an event of another member", anna, says(mine, Entry{2, event(berta, 1, 2), false}))
	b.refuse("an event of this process", anna, says(mine, Entry{2, event(self, 1, 2), false}))
	b.wantDoubt("nothing was taken", 1, false)
	b.hear(anna, 0, mine)
	b.wantDoubt("its own event is taken", 1, true)
}

func TestASettlementIsOfTheEventThatWasAnnounced(t *testing.T) {
	b := withBoth(t)
	announced := event(anna, 1, 1)
	b.hear(anna, 0, Entry{1, announced, false})
	for what, change := range map[string]func(*Event){
		"other buckets":    func(e *Event) { e.Buckets = []uint32{2} },
		"all buckets":      func(e *Event) { e.All, e.Buckets = true, nil },
		"another nonce":    func(e *Event) { e.Nonce = 4 },
		"another database": func(e *Event) { e.Database = "db2" },
	} {
		other := announced
		change(&other)
		b.refuse(what, anna, says(Entry{2, other, true}))
		b.refuse(what+", announced again", anna, says(Entry{2, other, false}))
	}
	both := announced
	both.ID.Sequence, both.Buckets = 2, []uint32{2}
	changed := both
	changed.Nonce += 2
	b.refuse("another one in the same message", anna, says(Entry{2, both, false}, Entry{3, changed, true}))
	b.wantDoubt("it is not settled", 1, true)
	b.hear(anna, 1, Entry{2, announced, true})
	b.wantDoubt("settled", 1, false)
}

func TestTheDatabaseDecidesAboutAnotherWritersEvent(t *testing.T) {
	b := withBoth(t)
	e := event(anna, 1, 1)
	before, _ := b.version(1)
	b.hear(anna, 0, Entry{1, e, false})
	b.wait(10 * time.Millisecond)
	b.hear(berta, 0, Entry{1, e, true})
	b.wantDoubt("another member than the writer has settled it", 1, true)
	b.took(0)
	b.wait(350 * time.Millisecond)
	if len(b.took(OpenTransactions)) != 1 {
		t.Fatal("the database is not asked before the event is an orphan")
	}
	b.do(func() { b.m.OpenTransactions(b.now, "db", []string{"7"}, nil) })
	b.wait(350 * time.Millisecond)
	b.do(func() { b.m.OpenTransactions(b.now, "db", []string{"7"}, nil) })
	b.wantDoubt("its transaction is open", 1, true)
	b.wait(350 * time.Millisecond)
	b.do(func() { b.m.OpenTransactions(b.now, "db", nil, nil) })
	b.wantDoubt("its transaction has ended", 1, false)
	if after, _ := b.version(1); after != before+e.Nonce {
		t.Errorf("version %x, %x before", after, before)
	}
}

func TestNothingIsSettledInAdvance(t *testing.T) {
	b := withBoth(t)
	before, _ := b.version(1)
	b.hear(berta, 0, Entry{1, event(anna, 1, 1), true}, Entry{2, event(self, 1, 1), true})
	b.receive(berta, &Message{Kind: Repair, Entries: []Entry{{0, event(anna, 1, 1), true}, {0, event(self, 1, 1), true}}})
	if after, _ := b.version(1); after != before || b.m.Counts().Refused != 4 || len(b.m.events.settled) != 0 {
		t.Errorf("bumped, or kept: %v, refused %d", b.m.events.settled, b.m.Counts().Refused)
	}
	b.hear(anna, 0, Entry{1, event(anna, 1, 1), false})
	b.wantDoubt("announced after that", 1, true)
	id := b.announce(2)
	b.wantDoubt("announced here after that", 2, true)
	b.hear(berta, 2, Entry{3, b.m.events.open[id].event, true})
	b.wait(2 * time.Second)
	b.do(func() { b.m.OpenTransactions(b.now, "db", nil, nil) })
	b.wantDoubt("another member has settled what is under way here", 2, true)
	b.do(func() { b.m.Settle(b.now, id) })
	b.wantDoubt("settled here", 2, false)
}

func TestAWriterMaySettleWhatItNeverAnnounced(t *testing.T) {
	b := withBoth(t)
	before, _ := b.version(1)
	b.hear(anna, 0, Entry{1, event(anna, 1, 1), true}, Entry{2, event(anna, 1, 1), true})
	if after, _ := b.version(1); after != before+2 {
		t.Errorf("version %x, %x before: it was given up before it was announced here", after, before)
	}
}

func TestAnAnswerToNothingIsAViolation(t *testing.T) {
	b := withBoth(t)
	b.announce(1)
	b.refuse("a future entry", anna, &Message{Kind: Ack, Sequence: b.m.members.lastEntry + 1})
	b.refuse("a future probe", anna, &Message{Kind: Alive, Attempt: b.m.join.attempt + 1})
	b.refuse("a future acknowledgement", anna, &Message{Kind: JoinAck, Attempt: b.m.join.attempt + 1})
	for _, attempt := range []uint64{b.m.join.attempt, b.m.join.attempt + 1} {
		b.refuse("a copy that was not asked for", anna, &Message{Kind: Copy, Attempt: attempt, State: &Snapshot{Epoch: 2}})
	}
	b.acknowledge(anna)
	if len(b.took(Cleared)) != 0 {
		t.Error("cleared without berta")
	}
	b.acknowledge(berta)
	if len(b.took(Cleared)) != 1 {
		t.Error("not cleared")
	}
}

func TestMessagesThatNoMachineMakesAreRefused(t *testing.T) {
	b := withBoth(t)
	b.refuse("event 0", anna, says(Entry{1, event(anna, 0, 1), true}))
	b.refuse("an event with the highest number", anna, says(Entry{1, event(anna, maxSequence, 1), true}))
	b.refuse("an event of no database", anna, says(Entry{1, Event{ID: EventID{anna, 1}, Nonce: 2, All: true}, false}))
	b.refuse("a repair by an open event", anna, &Message{Kind: Repair, Entries: []Entry{{0, event(anna, 1, 1), false}}})
	b.refuse("a note with a writer", anna, &Message{Kind: Outside, Entries: []Entry{{0, event(anna, 1, 1), false}}})
	b.refuse("a long message", anna, &Message{Kind: Events, Entries: make([]Entry, entriesInMessage+1)})
}

func TestACopyIsGivenToMembersAndNotAgainAtOnce(t *testing.T) {
	b := withBoth(t)
	copies := func(peer Incarnation) (n int) {
		b.took(0)
		for range 5 {
			b.receive(peer, &Message{Kind: CopyRequest, Attempt: 1})
		}
		for _, a := range b.took(Send) {
			if a.Message.Kind == Copy {
				n++
			}
		}
		return n
	}
	b.do(func() { b.m.Connected(b.now, 77) })
	if n := copies(77); n != 0 {
		t.Error("a process without a row gets a copy")
	}
	if n := copies(anna); n != 1 {
		t.Errorf("%d copies for five requests", n)
	}
	b.now = b.now.Add(retry)
	if n := copies(anna); n != 1 {
		t.Error("no copy for a member that asks again, as none has arrived")
	}
}

func TestPeersDoNotMakeAProcessAskTheDatabaseAllTheTime(t *testing.T) {
	b := withBoth(t)
	b.took(0)
	reads := 0
	for i := range Incarnation(500) {
		b.receive(1000+i, &Message{Kind: Probe})
		b.receive(anna, &Message{Kind: JoinRequest, Attempt: uint64(i)})
		b.receive(berta, &Message{Kind: Bye})
		b.wait(10 * time.Millisecond)
		if n := len(b.took(TakeView)); n > 0 {
			reads += n
			b.view(In, b.join(anna), b.join(berta))
		}
	}
	if reads == 0 || reads > 200 { // one per 50 ms of 5 seconds, and the 4 per lease that are taken anyway
		t.Errorf("%d views in 5 s", reads)
	}
	if len(b.m.members.byID) != 2 {
		t.Error("a process without a row is a member")
	}
	for i := range Incarnation(3 * maxJoinRequests) {
		b.receive(1000+i, &Message{Kind: JoinRequest, Attempt: 1})
	}
	if n := len(b.m.view.requests); n > maxJoinRequests {
		t.Errorf("%d joiners wait", n)
	}
}

func TestACommitDoesNotWaitForAProcessWithoutARow(t *testing.T) {
	b := newBench(t)
	b.do(func() { b.m.Connected(b.now, anna) })
	b.hear(anna, 0, Entry{1, event(anna, 1, 1), false})
	b.wantDoubt("it may be about to get its row", 1, true)
	b.announce(2)
	if len(b.took(Cleared)) != 1 {
		t.Error("a commit waits for a process that has no row")
	}
}
