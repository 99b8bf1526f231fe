package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// openTwo starts a process of a database "a" and a database "b", whose keys have that letter
// behind their first byte.
func openTwo(t testing.TB, db *database, address string) *process {
	t.Helper()
	p := open(t, db, settings{"listen": address})
	p.driver.Input(func(m *coherence.Machine, _ coherence.Time) { // instead of the one that has every key
		p.Databases.list.Store(&[]served{{"a", []byte("a")}})
	})
	word, err := p.Databases.Serve("b", []byte("b"))
	if err != nil || word != coherence.DeadlineWord(1) {
		t.Fatalf("word %d, %v", word, err)
	}
	return p
}

func (p *process) may(key string) bool {
	_, ok := p.Databases.Version([]byte(key))
	return ok
}

func TestADatabaseThatDoesNotAnswerIsBypassedAlone(t *testing.T) {
	db := newDatabase()
	p := openTwo(t, db, unixAddress(t))
	eventually(t, "both are served", func() bool { return p.may("oa") && p.may("ob") })
	if _, found := p.Lookup([]byte("oc"), nil); p.may("oc") || p.may("") || found.Deadline != 0 {
		t.Error("a key of an unknown database is served")
	}
	p.secondAway.Store(true)
	eventually(t, "the other one runs out", func() bool { return !p.may("ob") })
	if !p.may("oa") || !p.serves() {
		t.Error("the first one is not served any more")
	}
	p.driver.Lock()
	away := p.Databases.unreachable(now())
	p.driver.Unlock()
	if !slices.Equal(away, []string{"b"}) {
		t.Errorf("away is %v", away)
	}
	p.write("oa", "v", true)
	p.secondAway.Store(false)
	eventually(t, "both are served again", func() bool { return p.may("oa") && p.may("ob") })
}

func TestALookCountsFromWhenItWasAskedFor(t *testing.T) {
	p := openTwo(t, newDatabase(), unixAddress(t))
	eventually(t, "it is served", func() bool { return p.may("ob") })
	p.secondAsked.Store(int64(now()))
	eventually(t, "it runs out, though every view names it", func() bool { return !p.may("ob") })
	p.secondAsked.Store(int64(now().Add(patience)))
	eventually(t, "it is served", func() bool { return p.may("ob") })
	if p.Memory.table.DatabaseDeadline(1) > p.Memory.table.DatabaseDeadline(0) {
		t.Error("it is served for longer than the members table allows")
	}
}

// An owner that does not reach a database loads nothing of it for other processes, and no value of it is
// pushed.
func TestAProcessThatDoesNotReachADatabaseLoadsNothingOfIt(t *testing.T) {
	db := newDatabase()
	a, b := openTwo(t, db, unixAddress(t)), openTwo(t, db, unixAddress(t))
	together(t, a, b)
	eventually(t, "both are served", func() bool { return a.may("ob") && b.may("ob") })
	b.secondAway.Store(true)
	eventually(t, "one has run out", func() bool { return !b.may("ob") })
	for i := range 20 {
		key := fmt.Sprint("ob", i)
		db.with(func() { db.values[key] = "v" })
		if r := a.read(key)[0]; r.Source != cache.Database || string(r.Value) != "v" {
			t.Errorf("%s: %q from %d", key, r.Value, r.Source)
		}
		b.write(key, "w", true)
	}
	if n := b.loaded.Load(); n != 0 {
		t.Errorf("%d loads by a process that does not reach the database", n)
	}
	if n := b.counts.pushed.Load(); n != 0 {
		t.Errorf("%d pushes of a database that does not answer", n)
	}
}

func TestTheDatabasesOfAProcessAreBounded(t *testing.T) {
	p := open(t, newDatabase(), nil)
	for i := 1; i < coherence.MaxDatabases; i++ {
		prefix := []byte(fmt.Sprint("a", i))
		word, err := p.Databases.Serve("a", prefix)
		again, errAgain := p.Databases.Serve("a", prefix)
		if word != coherence.DeadlineWord(i) || again != word || err != nil || errAgain != nil {
			t.Fatalf("number %d: words %d and %d, %v, %v", i, word, again, err, errAgain)
		}
	}
	if word, err := p.Databases.Serve("b", []byte("b")); !errors.Is(err, ErrTooManyDatabases) {
		t.Errorf("word %d, %v", word, err)
	}
}

// An event of another process over a database puts keys in doubt only where that database is served (R17).
func TestAnEventCountsWhereItsDatabaseIsServed(t *testing.T) {
	db := newDatabase()
	a, b := openTwo(t, db, unixAddress(t)), openTwo(t, db, unixAddress(t))
	together(t, a, b)
	eventually(t, "both are served", func() bool { return a.may("oa") && a.may("ob") })
	event, err := b.Announce("c", nil, true)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is acknowledged", func() bool {
		a.driver.Lock()
		defer a.driver.Unlock()
		return a.driver.machine.Counts().Acknowledged > 0
	})
	if !a.may("oa") {
		t.Error("in doubt because of a database that is not served")
	}
	if _, err := a.Databases.Serve("c", []byte("c")); err != nil {
		t.Fatal(err)
	}
	if a.may("oa") {
		t.Error("not in doubt though its database is served")
	}
	a.Databases.Unserve("c")
	if a.Memory.table.DatabaseDeadline(2) != 0 {
		t.Error("its keys are still served")
	}
	eventually(t, "not in doubt any more", func() bool { return a.may("oa") })
	if err := b.Settle(event, nil); err != nil {
		t.Error(err)
	}
	eventually(t, "settled", func() bool { return b.may("oa") })
}

func TestAnAnnouncementThatIsRefusedLeavesNothing(t *testing.T) {
	p := open(t, newDatabase(), nil)
	long := strings.Repeat("d", coherence.MaxDatabaseID+1)
	if _, err := p.Announce(long, packed("k"), false); err == nil {
		t.Error("the others could not read the event")
	}
	if _, err := p.Databases.Serve(long, []byte("d")); err == nil {
		t.Error("it could be served, and nothing of it be written")
	}
	var events []uint64
	for range coherence.MaxOpenEvents {
		event, err := p.Announce("db", packed("k"), false)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, event)
	}
	if _, err := p.Announce("db", packed("other"), false); !errors.Is(err, coherence.ErrTooManyOpen) {
		t.Errorf("one more is announced: %v", err)
	}
	for _, event := range events {
		if err := p.Settle(event, nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "nothing is in doubt", func() bool { return p.settled("k") && p.settled("other") })
}
