package node

import (
	"errors"
	"fmt"
	"testing"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
)

// reads waits until processes read a value, each through the cache.
func reads(t *testing.T, key, value string, processes ...*process) {
	t.Helper()
	for i, p := range processes {
		eventually(t, fmt.Sprintf("process %d reads %s as %s", i, key, value), func() bool {
			r := p.read(key)[0]
			return r.Source != cache.Nowhere && string(r.Value) == value
		})
	}
}

func TestAWriteFromOutsideIsReadByAll(t *testing.T) {
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

// A process cannot bump the buckets of a note without content, so the look that lists it is not taken.
func TestANoteThatIsNotRegisteredLetsItsDatabaseRunOut(t *testing.T) {
	db := newDatabase()
	p := openTwo(t, db, unixAddress(t))
	eventually(t, "both are served", func() bool { return p.may("oa") && p.may("ob") })
	reads(t, "ob", "", p)
	p.unregistered.Store(true)
	db.writeOutside(note{database: 1, keys: []string{"ob"}}, "new")
	eventually(t, "its database runs out", func() bool { return !p.may("ob") })
	if !p.may("oa") {
		t.Error("the other database is not served any more")
	}
	if db.noteCount() != 1 {
		t.Error("a note was deleted that no process has applied")
	}
	p.unregistered.Store(false)
	eventually(t, "both are served", func() bool { return p.may("oa") && p.may("ob") })
	reads(t, "ob", "new", p)
	eventually(t, "the note is deleted", func() bool { return db.noteCount() == 0 })
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
	if err := p.OutsideWrite(6, 8, []byte{1}, false, 7, "psql"); !errors.Is(err, bridge.ErrMalformed) {
		t.Errorf("malformed keys: %v", err)
	}
}
