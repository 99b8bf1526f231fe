package coherence

import (
	"testing"
	"time"
)

// Events that nobody settles (R6, R9).

func TestAnOrphanStaysInDoubtUntilTheDatabaseSaysItIsOver(t *testing.T) {
	b := newBench(t)
	row := b.join(anna)
	b.view(In, row)
	b.hear(anna, 0, Entry{1, Event{ID: EventID{anna, 1}, Nonce: 2, Database: "db", Buckets: []uint32{1}}, false})
	refresh := func(d time.Duration) {
		b.wait(d)
		b.view(In, row)
	}
	refresh(1500 * time.Millisecond)
	if asked := b.took(OpenTransactions); len(asked) != 1 || asked[0].Database != "db" {
		t.Fatalf("asked %v", asked)
	}
	b.do(func() { b.m.OpenTransactions(b.now, "db", []string{"7", "8"}, nil) })
	refresh(time.Second)
	b.do(func() { b.m.OpenTransactions(b.now, "db", []string{"8", "9"}, nil) })
	if _, ok := b.version(1); ok {
		t.Error("settled while a transaction open at its arrival is still open")
	}
	refresh(time.Second)
	b.do(func() { b.m.OpenTransactions(b.now, "db", []string{"9"}, nil) })
	if _, ok := b.version(1); !ok {
		t.Error("not settled when it was over")
	}
}

func TestAnOwnOrphanWithoutADatabaseAsksAllOfThem(t *testing.T) {
	b := newBench(t)
	var id EventID
	if _, err := b.m.Announce(b.now, "", true, nil); err == nil {
		t.Error("announced, and each member would end its session because of it")
	}
	b.m.cfg.Alone = true
	b.do(func() { id = b.mustAnnounce("", true, nil) })
	b.do(func() { b.m.Lost(id) })
	b.wait(time.Second)
	if asked := b.took(OpenTransactions); len(asked) != 1 || asked[0].Database != "" {
		t.Fatalf("asked %v", asked)
	}
	b.do(func() { b.m.OpenTransactions(b.now, "", nil, nil) })
	if _, ok := b.version(1); !ok {
		t.Error("not settled when it was over")
	}
}

func TestALostAnswerIsAnOrphanAtHome(t *testing.T) {
	b := newBench(t)
	id := b.announce(1)
	b.wait(2 * time.Second)
	if b.view(In); len(b.took(OpenTransactions)) != 0 {
		t.Error("an event of this process that is under way was taken for an orphan")
	}
	b.do(func() { b.m.Lost(id) })
	b.wait(time.Second)
	if len(b.took(OpenTransactions)) != 1 {
		t.Error("the database was not asked")
	}
	b.do(func() { b.m.OpenTransactions(b.now, "db", nil, nil) })
	if _, ok := b.version(1); !ok {
		t.Error("not settled when it was over")
	}
}
