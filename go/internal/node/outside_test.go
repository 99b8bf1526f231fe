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

// reads waits until processes read a value, each from where it is served and not past the cache.
func reads(t *testing.T, key, value string, processes ...*process) {
	t.Helper()
	for i, p := range processes {
		eventually(t, fmt.Sprintf("process %d reads %s as %s", i, key, value), func() bool {
			r := p.read(key)[0]
			return r.Source != cache.Nowhere && string(r.Value) == value
		})
	}
}

func TestWhatWasWrittenFromOutsideIsReadByAll(t *testing.T) {
	db := newDatabase()
	a, b, c := three(t, db)
	keys := []string{keyOf(a, 0), keyOf(b, 1), keyOf(c, 2), keyOf(a, 3)}
	db.with(func() {
		for _, key := range keys {
			db.values[key] = "old"
		}
	})
	for _, key := range keys {
		reads(t, key, "old", a, b, c)
	}
	db.writeOutside(note{keys: keys[:3], rows: 3, application: "psql"}, "new")
	for _, key := range keys[:3] {
		reads(t, key, "new", a, b, c)
	}
	eventually(t, "the note is deleted", func() bool { return db.noteCount() == 0 })
	loads := db.loadsOf(keys[3])
	reads(t, keys[3], "old", a, b, c)
	if db.loadsOf(keys[3]) != loads {
		t.Error("what the note does not name was loaded anew")
	}

	db.with(func() { db.values[keys[3]] = "new" })
	db.writeOutside(note{}, "")
	reads(t, keys[3], "new", a, b, c)
	eventually(t, "the note is deleted", func() bool { return db.noteCount() == 0 })
	versions := statsOf(t, a).Versions
	for _, p := range []*process{a, b, c} {
		s := statsOf(t, p)
		if s.Versions != versions || s.Outside.Applied != 2 || s.Outside.Everything != 1 || s.Outside.Rows != 3 {
			t.Errorf("versions %s and %s, %+v", versions, s.Versions, s.Outside)
		}
		if got := s.Outside.ByApplication; len(got) != 2 || got[0].Application != "psql" || got[0].Notes != 1 || got[0].Rows != 3 {
			t.Errorf("by application: %+v", got)
		}
	}
}

// What a process has not been told the content of it cannot bump, so the look is not taken.
func TestANoteThatWasNotToldOfLetsItsDatabaseRunOut(t *testing.T) {
	db := newDatabase()
	p := openTwo(t, db, unixAddress(t))
	eventually(t, "both are served", func() bool { return p.may("oa") && p.may("ob") })
	reads(t, "ob", "", p)
	p.tellsNot.Store(true)
	db.writeOutside(note{database: 1, keys: []string{"ob"}}, "new")
	eventually(t, "its database runs out", func() bool { return !p.may("ob") })
	if !p.may("oa") {
		t.Error("the other database is not served any more")
	}
	if db.noteCount() != 1 {
		t.Error("a note was deleted that nobody has applied")
	}
	p.tellsNot.Store(false)
	eventually(t, "both are served", func() bool { return p.may("oa") && p.may("ob") })
	reads(t, "ob", "new", p)
	eventually(t, "the note is deleted", func() bool { return db.noteCount() == 0 })
}

func TestANoteIsKeptForAsLongAsItIsListed(t *testing.T) {
	n := &Node{}
	m := coherence.New(coherence.Config{Incarnation: 1, Alone: true, Random: random},
		coherence.NewTable(make([]uint64, coherence.TableHeader+8)), 1)
	n.outsideWrites.registered = map[coherence.OutsideID]*registered{1: {seen: 0}, 2: {seen: 0}, 3: {seen: 0}}
	if !n.outsideWrites.take(n, m, &reached{Word: 8, Outside: []coherence.OutsideID{1}}, 50, 50) {
		t.Fatal("a note is not known that was registered")
	}
	n.outsideWrites.registered[3].seen = 60
	n.outsideWrites.forget(100, 100)
	if len(n.outsideWrites.registered) != 2 || n.outsideWrites.registered[1] == nil || n.outsideWrites.registered[3] == nil {
		t.Errorf("kept %v, not 1, which is listed, and 3, which is new", n.outsideWrites.registered)
	}
	n.outsideWrites.forget(500, 100)
	if len(n.outsideWrites.registered) != 1 || n.outsideWrites.registered[1] == nil {
		t.Errorf("kept %v, not 1, which the last look has listed", n.outsideWrites.registered)
	}
	n.outsideWrites.take(n, m, &reached{Word: 8}, 600, 600)
	n.outsideWrites.forget(700, 100)
	if len(n.outsideWrites.registered) != 0 {
		t.Errorf("kept %v, which nobody lists", n.outsideWrites.registered)
	}
}

func TestANoteIsCountedOnce(t *testing.T) {
	p := open(t, newDatabase(), nil)
	for range 3 {
		if err := p.OutsideWrite(5, 8, packed("a"), false, 7, "psql"); err != nil {
			t.Fatal(err)
		}
	}
	if s := statsOf(t, p).Outside; s.Applied != 1 || s.Rows != 7 || s.ByApplication[0].Notes != 1 {
		t.Errorf("%+v", s)
	}
	if err := p.OutsideWrite(6, 8, []byte{1}, false, 7, "psql"); !errors.Is(err, errPacked) {
		t.Errorf("malformed keys: %v", err)
	}
}

func TestTheStatisticsOfApplicationsAreBounded(t *testing.T) {
	var totals outsideTotals
	for i := range maxApplications {
		totals.count(false, 1, fmt.Sprint(i))
	}
	totals.count(true, 5, "0")
	totals.count(false, 0, strings.Repeat("ü", 1000))
	names := []string{}
	for _, a := range totals.statistics().ByApplication {
		names = append(names, a.Application)
	}
	if len(names) != maxApplications || slices.Contains(names, "1") || names[0] != "0" ||
		names[len(names)-1] != strings.Repeat("ü", maxApplicationName) {
		t.Errorf("%q", names)
	}
	if s := totals.statistics(); s.Applied != maxApplications+2 || s.Everything != 1 || s.Rows != maxApplications+5 || s.ByApplication[0].Notes != 2 {
		t.Errorf("%+v", s)
	}
}
