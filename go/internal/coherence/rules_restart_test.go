package coherence

import (
	"testing"
	"time"
)

// A process after a panic inside the machine (R17).

func TestAfterARestartAProcessServesNothingAndJoinsByACopy(t *testing.T) {
	b := withBoth(t)
	b.reachDatabase()
	b.hear(anna, 0, Entry{1, event(anna, 1, 1), false})
	waits := b.announce(2)
	b.m.events.doubt.buckets[1].events, b.m.events.doubt.allOpen = 7, 3 // half changed
	b.m.members.order = b.m.members.order[:1]
	b.m.events.uncleared = nil
	b.m.view.underWay = true
	b.took(0)
	b.do(func() { b.m.Restart(b.now, "a test") })
	if b.m.table.DatabaseDeadline(0) != 0 || b.m.Serves(b.now) {
		t.Error("still serves")
	}
	if len(b.took(TakeView)) != 1 {
		t.Error("asks for no view, though the earlier one may never be answered")
	}
	b.wantDoubt("open", 1, true)
	b.wantDoubt("the event of this process", 2, true)
	b.wantDoubt("nothing", 3, false)
	if d := b.m.events.doubt.buckets[1]; d.events != 1 || b.m.events.doubt.allOpen != 0 {
		t.Error("counts what there is not")
	}
	rows := []Row{b.join(anna), b.join(berta)}
	b.view(In, rows...)
	b.acknowledge(anna)
	if len(b.took(Cleared)) != 0 {
		t.Error("cleared without berta")
	}
	b.acknowledge(berta)
	if cleared := b.took(Cleared); len(cleared) != 1 || cleared[0].Event != waits {
		t.Errorf("cleared %v: a transaction must not wait for ever", cleared)
	}
	b.do(func() { b.m.Restart(b.now, "another test") })
	if cleared := b.took(Cleared); len(cleared) != 1 || cleared[0].Event != waits {
		t.Errorf("cleared %v: the action may have been lost in the error", cleared)
	}
	b.wait(time.Second)
	if len(b.took(Post)) != 1 {
		t.Error("does not join again")
	}
	before := b.m.table.settledWord(wordEpoch)
	b.do(func() { b.m.enter(b.now, &Snapshot{Epoch: before + 1<<40}) })
	b.wantDoubt("open, after the copy", 1, true)
	b.wantDoubt("the event of this process, after the copy", 2, true)
	b.do(func() { b.m.Settle(b.now, waits) })
	b.hear(anna, 1, Entry{2, event(anna, 1, 1), true})
	b.wantDoubt("settled", 1, false)
	b.wantDoubt("settled here", 2, false)
}

func TestAnEventWhoseNumberTheCallerWasNotGivenIsGivenUp(t *testing.T) {
	b := withBoth(t)
	id := b.announce(1)
	b.m.events.open[id].own.given = false // the error came before it was returned
	b.took(0)
	b.do(func() { b.m.Restart(b.now, "a test") })
	if len(b.m.events.open) != 0 {
		t.Error("stays open, and will never be settled")
	}
	sent := 0
	for _, a := range b.took(Send) {
		if a.Message.Kind == Events && a.Message.Entries[0].Settled {
			sent++
		}
	}
	if sent != 2 {
		t.Errorf("%d members are sent the settlement", sent)
	}
}

func TestAProcessAloneStartsAnewUnderOtherVersions(t *testing.T) {
	n := uint64(0)
	m := New(Config{Incarnation: self, Alone: true, Random: func() uint64 { n += 1 << 20; return n }},
		NewTable(make([]uint64, TableHeader+8)), 1)
	before, _ := m.table.Version(1)
	id, err := m.Announce(2, "db", false, []uint32{2})
	if err != nil {
		t.Fatal(err)
	}
	m.table.setDoubt(wordEpoch, true) // half changed
	m.table.setDoubt(TableHeader+1, true)
	m.table.setDoubt(TableHeader+2, false)
	m.Restart(3, "a test")
	if after, ok := m.table.Version(1); !ok || after == before || !m.Serves(4) {
		t.Error("the versions are the same, or it does not serve")
	}
	if _, ok := m.table.Version(2); ok {
		t.Error("what is under way is not in doubt")
	}
	m.Settle(5, id)
	if _, ok := m.table.Version(2); !ok {
		t.Error("in doubt for ever")
	}
	m.AddDatabase()
	if m.publish(); m.table.DatabaseDeadline(0) == 0 {
		t.Error("does not serve")
	}
	m.Leave(6)
	m.Restart(7, "a test")
	if m.table.DatabaseDeadline(0) != 0 {
		t.Error("serves again after it has left")
	}
}

// An entry that was not learned before a panic is not acknowledged after it: the writer would commit by that.
func TestEntriesThatAPanicHasKeptFromBeingLearnedAreNotAcknowledged(t *testing.T) {
	b := withBoth(t)
	bad, good := event(anna, 1, 1), event(anna, 2, 2)
	bad.Buckets = []uint32{1 << 20} // the table has no such bucket: a panic
	message := &Message{Kind: Events, Entries: []Entry{{1, bad, false}, {2, good, false}}}
	func() {
		defer func() {
			if recover() == nil {
				t.Fatal("no panic")
			}
			delete(b.m.events.open, bad.ID) // as if it were repaired
			b.do(func() { b.m.Restart(b.now, "a test") })
		}()
		_ = b.m.Receive(b.now, anna, message)
	}()
	b.took(0)
	message.Entries[0].Event.Buckets = []uint32{3}
	b.receive(anna, message)
	for _, sent := range b.took(Send) {
		if sent.Message.Kind == Ack && sent.Message.Sequence >= 2 && b.m.events.announced(good.ID) == nil {
			t.Error("acknowledges an event of which it knows nothing")
		}
	}
}

// The answer to what was asked before the panic may be lost with it.
func TestTheDatabaseIsAskedAboutOrphansAgainAfterARestart(t *testing.T) {
	b := withBoth(t)
	row := b.join(anna)
	b.hear(anna, 0, Entry{1, event(anna, 1, 1), false})
	ask := func() int {
		b.wait(1500 * time.Millisecond)
		b.view(In, row, b.join(berta))
		b.wait(retry)
		return len(b.took(OpenTransactions))
	}
	if n := ask(); n != 1 {
		t.Fatalf("asked %d times", n)
	}
	b.do(func() { b.m.Restart(b.now, "a test") })
	b.m.join.phase = joined // as if it had its copy
	if n := ask(); n != 1 {
		t.Errorf("asked %d times after it: the event would stay in doubt for ever", n)
	}
}
