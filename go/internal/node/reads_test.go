package node

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"guillotina_groupcache/internal/cache"
)

func TestAReadComesFromTheDatabaseOnceAndThenFromMemory(t *testing.T) {
	db := newDatabase()
	a, b, c := three(t, db)
	key := keyOf(b, 0)
	db.values[key] = "v"
	buf := make([]byte, 64)
	if n, _ := a.Lookup([]byte(key), buf); n != Miss {
		t.Errorf("a cold lookup gave %d", n)
	}
	wantResult(t, a.read(key)[0], cache.Database, "v")
	wantResult(t, c.read(key)[0], cache.Peer, "v")
	for p, source := range map[*process]cache.Source{a: cache.Hot, b: cache.Own, c: cache.Hot} {
		if n, found := p.Lookup([]byte(key), buf); n != 1 || found.Source != source || buf[0] != 'v' {
			t.Errorf("lookup gave %d from %d, want it from %d", n, found.Source, source)
		}
	}
	if db.loadsOf(key) != 1 {
		t.Errorf("%d loads", db.loadsOf(key))
	}
}

func TestTCPWithASecret(t *testing.T) {
	db := newDatabase()
	db.values["k"] = "v"
	secret := "not base64, but %$ ünï words"
	a := open(t, db, settings{"listen": tcpAddress(t), "secret": secret})
	b := open(t, db, settings{"listen": tcpAddress(t), "secret": secret})
	together(t, a, b)
	for _, p := range []*process{a, b} {
		if got := p.get("k"); got != "v" {
			t.Errorf("got %q", got)
		}
	}
	if db.loadsOf("k") != 1 {
		t.Errorf("%d loads", db.loadsOf("k"))
	}
}

func TestAClientReadsFromItsPeersAndAnnounces(t *testing.T) {
	db := newDatabase()
	all := cluster(t, db, unixAddress(t))
	a, client := all[0], open(t, db, nil)
	eventually(t, "the client takes part", func() bool { return client.serves() && client.reaches() == 1 })
	if owner := client.group.Owner([]byte("k")); owner != a.mesh.Address {
		t.Fatalf("the owner is %q", owner)
	}
	for i, writer := range []*process{client, a, client} {
		writer.write("k", fmt.Sprint(i), true)
		for _, p := range []*process{a, client} {
			if got := p.get("k"); got != fmt.Sprint(i) {
				t.Errorf("after write %d: got %q", i, got)
			}
		}
	}
}

func TestManyColdReadersCauseOneLoad(t *testing.T) {
	db := newDatabase()
	a, b, c := three(t, db)
	db.values["k"] = "v"
	var wg sync.WaitGroup
	for i := range 150 {
		wg.Go(func() {
			r := []*process{a, b, c}[i%3].read("k")[0]
			wantResult(t, r, r.Source, "v")
		})
	}
	wg.Wait()
	if n := db.loadsOf("k"); n != 1 {
		t.Errorf("%d loads", n)
	}
}

func TestManyKeysTakeOneReadFromEachOwner(t *testing.T) {
	db := newDatabase()
	a, b, c := three(t, db)
	var keys []string
	for i := range 300 {
		key := fmt.Sprint("child ", i)
		keys = append(keys, key)
		db.values[key] = strings.Repeat(key, i%5) // some are empty
	}
	for _, p := range []*process{a, b, c} {
		for i, r := range p.read(keys...) {
			wantResult(t, r, r.Source, db.get(keys[i]))
			if r.Source == cache.Nowhere {
				t.Fatalf("no value for %s", keys[i])
			}
		}
	}
	for _, key := range keys {
		if n := db.loadsOf(key); n != 1 {
			t.Errorf("%d loads of %s", n, key)
		}
	}
}

func TestLargeValuesTakeMoreThanOneAnswer(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	var keys []string
	for i := range 24 {
		key := keyOf(b, i)
		size := 1 << 20
		if i%6 == 0 {
			size = 5 << 20
		}
		keys = append(keys, key)
		db.values[key] = strings.Repeat(fmt.Sprint(i%10), size)
	}
	a.readServed(keys...)
	for i, r := range a.readServed(keys...) {
		wantResult(t, r, r.Source, db.get(keys[i]))
	}
	for _, key := range keys {
		if n := db.loadsOf(key); n != 1 {
			t.Errorf("%d loads of %s", n, key)
		}
	}
	if n := a.group.PeerErrors.Load(); n != 0 {
		t.Errorf("%d requests to the owner failed", n)
	}
}

func TestALoaderThatFails(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	db.with(func() { db.broken = "the database is on fire" })
	for _, key := range []string{keyOf(a, 0), keyOf(b, 0)} {
		wantResult(t, a.read(key)[0], cache.Nowhere, "")
	}
	db.with(func() {
		db.broken = ""
		db.values[keyOf(a, 0)], db.values[keyOf(b, 0)] = "v", "w"
	})
	wantResult(t, a.read(keyOf(a, 0))[0], cache.Database, "v")
	wantResult(t, a.read(keyOf(b, 0))[0], cache.Database, "w")
}

func TestReadsOfNothingAndOfMalformedLists(t *testing.T) {
	p := open(t, newDatabase(), settings{"alone": true})
	if results := p.read(); len(results) != 0 {
		t.Errorf("got %v", results)
	}
	if err := p.Read(99, []byte{1, 0, 0, 0}); err == nil {
		t.Error("a malformed list was read")
	}
	if _, err := p.Announce("db", []byte{1}, false); err == nil {
		t.Error("a malformed list was announced")
	}
}

// A slow owner costs its readers the timeout of one request, and no error.
func TestASlowOwnerDoesNotHoldUpOthersForEver(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	resume := b.pausePython()
	defer resume()
	one, two := keyOf(b, 0), keyOf(b, 1)
	db.with(func() { db.values[one], db.values[two] = "v", "w" })
	wantResult(t, a.read(one)[0], cache.Database, "v")
	wantResult(t, a.read(two)[0], cache.Database, "w")
}

func TestAProcessWithoutAViewBypasses(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	key := keyOf(a, 0)
	db.with(func() { db.values[key] = "v" })
	a.read(key)
	resume := a.pausePython() // no view comes: the lease runs out
	eventually(t, "it serves no more", func() bool {
		n, _ := a.Lookup([]byte(key), make([]byte, 10))
		return n == Bypass
	})
	// Other processes may still ask it: a versioned key says which value is meant.
	if r := b.read(key)[0]; r.Source != cache.Peer && r.Source != cache.Hot {
		t.Errorf("got %q from %d", r.Value, r.Source)
	}
	resume()
	eventually(t, "it is back", a.serves)
}
