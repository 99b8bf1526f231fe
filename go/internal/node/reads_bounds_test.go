package node

import (
	"testing"

	"guillotina_groupcache/internal/cache"
)

// Python may reuse its buffer when a call has returned, while the read goes on.
func TestAReadUnderWayDoesNotLookIntoPythonsBuffer(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	n := 0
	for what, ask := range map[string]func(id uint64, keys ...string) (buffer []byte){
		"get": func(id uint64, keys ...string) []byte {
			buffer := []byte(keys[0])
			a.Get(id, buffer, nil)
			return buffer
		},
		"read": func(id uint64, keys ...string) []byte {
			buffer := packed(keys...)
			must(t, a.Read(id, buffer))
			return buffer
		},
		"warm": func(id uint64, keys ...string) []byte {
			buffer := packed(keys...)
			if warms, err := a.Warm(id, buffer); err != nil || !warms {
				t.Error(warms, err)
			}
			return buffer
		},
	} {
		t.Run(what, func(t *testing.T) {
			one, two := keyOf(b, n), keyOf(b, n+1)
			n += 2
			db.with(func() { db.values[one], db.values[two] = "v", "w" })
			resume := b.pausePython()
			defer resume()
			id := a.numbers.Add(1)
			answer := a.expect(false, id)
			buffer := ask(id, one, two)
			eventually(t, "the owner loads", func() bool { return b.Loads.Waiting() == 1 })
			clear(buffer)
			resume()
			a.await("the read is answered", answer)
			buf := make([]byte, 8)
			if n, found := a.Lookup([]byte(one), buf); n != 1 || buf[0] != 'v' {
				t.Errorf("the value is not under its key: %d bytes from %d", n, found.Source)
			}
		})
	}
}

// The bound on reads counts only those that are under way.
func TestReadsThatHaveEndedAreNotCounted(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	laneTo(t, a, b, nil)
	own, theirs := keyOf(a, 0), keyOf(b, 0)
	db.with(func() { db.values[own], db.values[theirs] = "v", "w" })
	for range 2 {
		a.read(own)
		a.read(theirs)
		a.read(own, theirs)
	}
	db.with(func() { db.broken = "the database is on fire" })
	a.read(keyOf(a, 1))
	a.read(keyOf(b, 1))
	for _, p := range []*process{a, b} {
		eventually(t, "no read is counted", func() bool { return p.tasks.running.Load() == 0 })
		if n := p.Loads.Waiting(); n != 0 {
			t.Errorf("%d loads are left over", n)
		}
	}
}

func TestReadsBeyondTheirBoundGoToTheDatabase(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	own, theirs, more := keyOf(a, 0), keyOf(b, 0), keyOf(b, 1)
	db.with(func() { db.values[own], db.values[theirs], db.values[more] = "v", "w", "x" })
	a.tasks.running.Add(maxReads)
	for _, key := range []string{own, theirs} {
		wantResult(t, a.read(key)[0], cache.Nowhere, "")
	}
	if a.loaded.Load()+b.loaded.Load() != 0 {
		t.Error("something was loaded")
	}
	a.tasks.running.Add(-maxReads)
	wantResult(t, a.read(own)[0], cache.Database, "v")
	wantResult(t, a.read(theirs)[0], cache.Database, "w")
	// An owner that is overloaded says so at once, and is asked again.
	b.tasks.running.Add(maxReads)
	wantResult(t, a.read(more)[0], cache.Database, "x")
	b.tasks.running.Add(-maxReads)
	if a.mesh.Breakers.Open(b.mesh.Address) {
		t.Error("the owner has not answered")
	}
}
