package coherence

import (
	"math"
	"testing"
	"time"
)

// look takes a view that was asked for at asked and that has reached databases.
func (b *bench) look(asked Time, state State, databases ...int) {
	rows := []Row{{Incarnation: self, Address: "own", State: state}}
	b.do(func() {
		for _, database := range databases {
			b.m.DatabaseReached(database, asked)
		}
		b.m.ViewTaken(b.now, asked, rows, nil)
	})
}

// reachDatabase adds the first database, as one that the last view has reached.
func (b *bench) reachDatabase() {
	b.t.Helper()
	b.do(func() {
		b.m.AddDatabase()
		b.m.DatabaseReached(0, b.now)
		b.m.publish()
	})
	b.wantDeadlines("reached", b.now.Add(3*time.Second))
}

func (b *bench) wantDeadlines(what string, want ...Time) {
	b.t.Helper()
	for database, deadline := range want {
		if got := b.m.table.DatabaseDeadline(database); got != deadline {
			b.t.Errorf("%s: database %d has the deadline %d at %d, want %d", what, database, got, b.now, deadline)
		}
	}
}

func TestADeadDatabaseLetsOnlyItsOwnDeadlineRunOut(t *testing.T) {
	const lease = 3 * time.Second
	b := newBench(t)
	for want := range 2 {
		if database, ok := b.m.AddDatabase(); database != want || !ok {
			t.Fatalf("database %d, %v", database, ok)
		}
	}
	b.wantDeadlines("before any look", 0, 0)
	b.look(b.now, In, 0, 1)
	first := b.now
	b.wantDeadlines("both were reached", first.Add(lease), first.Add(lease))
	for b.now < first.Add(2*lease) {
		b.wait(time.Second)
		b.look(b.now, In, 0)
		b.wantDeadlines("one is away", b.now.Add(lease), first.Add(lease))
		if b.m.Reaches(b.now, 1) != (b.now < first.Add(lease)) || !b.m.Reaches(b.now, 0) {
			t.Errorf("reached: %v and %v", b.m.Reaches(b.now, 0), b.m.Reaches(b.now, 1))
		}
	}
	// A commit needs the view of the members table, and no more.
	b.announce(1)
	if !b.m.Serves(b.now) || len(b.took(Cleared)) != 1 {
		t.Error("does not serve, or does not commit, because of one database")
	}
	b.look(b.now, In, 0, 1)
	b.wantDeadlines("both again", b.now.Add(lease), b.now.Add(lease))
}

func TestALookCountsFromItsOwnViewAndNeverLongerThanTheMembersTable(t *testing.T) {
	const lease = 3 * time.Second
	b := newBench(t)
	b.m.AddDatabase()
	early := b.now
	b.wait(time.Second)
	b.do(func() {
		b.m.DatabaseReached(0, early)
		b.m.DatabaseReached(0, early-1)
		b.m.DatabaseReached(5, b.now)  // a database that was never added
		b.m.DatabaseReached(-1, b.now) // no database
	})
	b.wantDeadlines("no view yet", 0)
	b.look(b.now, In)
	b.wantDeadlines("a look that came with an earlier view", early.Add(lease))
	b.do(func() { b.m.DatabaseReached(0, b.now.Add(time.Second)) })
	b.look(b.now, In)
	b.wantDeadlines("the view is older", b.now.Add(lease))
	b.do(func() { b.m.ForgetLooks(0) })
	b.wantDeadlines("it may be another one", 0)
}

func TestAProcessThatDoesNotServeHasNoDeadlines(t *testing.T) {
	b := newBench(t)
	b.m.AddDatabase()
	b.look(b.now, In, 0)
	b.look(b.now, Out, 0)
	b.wantDeadlines("out", 0)

	b = newBench(t)
	b.m.AddDatabase()
	b.look(b.now, In, 0)
	b.do(func() { b.m.Leave(b.now) })
	b.wantDeadlines("left", 0)
}

func TestAProcessAloneHasNoDeadline(t *testing.T) {
	m := New(Config{Incarnation: self, Alone: true, Random: func() uint64 { return 2 }},
		NewTable(make([]uint64, TableHeader+8)), 1)
	database, _ := m.AddDatabase()
	if d := m.table.DatabaseDeadline(database); d != math.MaxInt64 || len(m.Actions()) > 0 || !m.Reaches(1, database) {
		t.Errorf("deadline %d", d)
	}
	m.Leave(2)
	if d := m.table.DatabaseDeadline(database); d != 0 {
		t.Errorf("deadline %d after the end", d)
	}
}

func TestDatabasesAreBounded(t *testing.T) {
	b := newBench(t)
	for range MaxDatabases {
		if _, ok := b.m.AddDatabase(); !ok {
			t.Fatal("too few")
		}
	}
	if _, ok := b.m.AddDatabase(); ok {
		t.Error("a deadline where the first bucket lies")
	}
}
