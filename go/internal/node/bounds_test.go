package node

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/mesh"
	"guillotina_groupcache/internal/transport"
)

// A request or a value that no honest peer sends ends its session, and is counted.
func TestAFrameThatIsTooLargeEndsItsSession(t *testing.T) {
	p := cluster(t, newDatabase(), unixAddress(t))[0]
	s := newFakePeer(t, "")
	versioned := func(key string) cache.VersionedKey { return cache.VersionedKey{Key: []byte(key)} }
	many := make([]cache.VersionedKey, maxKeys+1)
	for i := range many {
		many[i] = versioned(fmt.Sprint(i))
	}
	long := versioned(strings.Repeat("k", maxKey+1))
	requests := map[string][]byte{
		"too many keys": packKeys(many),
		"a long key":    packKeys([]cache.VersionedKey{long}),
		"much in all":   packKeys(slices.Repeat([]cache.VersionedKey{versioned(strings.Repeat("k", maxKey))}, maxRequest/maxKey)),
	}
	violations := func() uint64 { return p.mesh.Transport.Stats().Faults[transport.ReasonViolation] }
	for what, body := range requests {
		before := violations()
		session := s.dial(t, p)
		if _, err := session.Call(t.Context(), mesh.FrameGet, body); err == nil {
			t.Errorf("%s: answered", what)
		}
		wantEnded(t, session, what)
		eventually(t, what+" is counted", func() bool { return violations() == before+1 })
	}
	before := violations()
	session := s.dial(t, p)
	must(t, session.Send(mesh.FramePut, packPut(put{event: 1, life: forever, key: long}), []byte("v")))
	wantEnded(t, session, "a value under a long key")
	eventually(t, "it is counted", func() bool { return violations() == before+1 })
	eventually(t, "the log has one line for violations of one kind", func() bool { return p.logLines("connection with") == 1 })
	session = s.dial(t, p)
	if _, err := session.Call(t.Context(), mesh.FrameGet, packKeys(many[:maxKeys])); err != nil {
		t.Errorf("as many keys as are allowed: %v", err)
	}
}

// A reader splits what is too much for one request.
func TestManyKeysAreRequestedInParts(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	for what, length := range map[string]int{"many": 1, "long": 1000} {
		var keys []string
		for i := 0; len(keys) < 2*maxKeys+1; i++ {
			if key := fmt.Sprint(what, strings.Repeat("x", length), i); b.group.Owner([]byte(key)) == "" {
				keys = append(keys, key)
				db.with(func() { db.values[key] = "v" })
			}
		}
		for i, r := range a.readServed(keys...) {
			if string(r.Value) != "v" {
				t.Fatalf("%s: %q is %q from %d", what, keys[i], r.Value, r.Source)
			}
		}
	}
	if faults := b.mesh.Transport.Stats().Faults; len(faults) != 0 {
		t.Errorf("faults: %v", faults)
	}
	if served := b.counts.served.Load(); served < 4*maxKeys {
		t.Errorf("the owner was asked for %d keys", served)
	}
}

func TestFitting(t *testing.T) {
	of := func(n, size int) []cache.VersionedKey {
		keys := make([]cache.VersionedKey, n)
		for i := range keys {
			keys[i].Key = bytes.Repeat([]byte("k"), size)
		}
		return keys
	}
	for _, c := range []struct{ n, size, want int }{
		{0, 0, 0}, {1, maxKey, 1}, {maxKeys, 50, maxKeys}, {maxKeys + 1, 50, maxKeys}, {100, maxKey, 31}, {3, maxKey + 1, 0},
	} {
		keys := of(c.n, c.size)
		if got := fitting(keys); got != c.want {
			t.Errorf("%d keys of %d bytes: %d fit", c.n, c.size, got)
		}
		if _, err := unpackKeys(packKeys(keys[:fitting(keys)])); err != nil {
			t.Errorf("what fits is refused: %v", err)
		}
	}
}

// A key that is too long for a request is loaded and kept where it is read.
func TestNoPeerIsAskedForALongKey(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	var keys []string
	for i := 0; len(keys) < 3; i++ {
		key := fmt.Sprint(strings.Repeat("k", maxKey), i)
		if i == 0 {
			key = keyOf(b, 0) // a short one between them
		}
		if b.group.Owner([]byte(key)) == "" {
			keys = append(keys, key)
			db.with(func() { db.values[key] = "v" })
		}
	}
	for _, together := range [][]string{keys, keys[1:2]} {
		for i, r := range a.readServed(together...) {
			if string(r.Value) != "v" {
				t.Errorf("key %d is %q from %d", i, r.Value, r.Source)
			}
		}
	}
	a.write(keys[1], "w", true)
	for _, p := range []*process{a, b} {
		if got := p.get(keys[1]); got != "w" {
			t.Errorf("%s reads %q", p.mesh.Address, got)
		}
	}
	if faults := b.mesh.Transport.Stats().Faults; len(faults) != 0 || db.loadsOf(keys[1]) < 2 {
		t.Errorf("faults: %v; %d loads", faults, db.loadsOf(keys[1]))
	}
}

// Requests that wait for loads take a bounded memory, however many a peer sends.
func TestRequestsThatWaitAreBounded(t *testing.T) {
	db := newDatabase()
	p := cluster(t, db, unixAddress(t))[0]
	session := newFakePeer(t, "").dial(t, p)
	p.handler.waiting.Add(maxWaiting)
	_, err := session.Call(t.Context(), mesh.FrameGet, packKeys([]cache.VersionedKey{{Key: []byte("k")}}))
	if !errors.Is(err, transport.ErrOverload) {
		t.Errorf("got %v", err)
	}
	p.handler.waiting.Add(-maxWaiting)
	if _, err := session.Call(t.Context(), mesh.FrameGet, packKeys([]cache.VersionedKey{{Key: []byte("k")}})); err != nil {
		t.Errorf("got %v", err)
	}
	eventually(t, "no request waits", func() bool { return p.handler.waiting.Load() == 0 })
}

// Programs that read the statistics of a peer expect the fields of this package.
func TestStatisticsOfAPeerAreChecked(t *testing.T) {
	p := open(t, newDatabase(), settings{"alone": true})
	good, err := p.Stats()
	must(t, err)
	self := coherence.Row{Incarnation: p.mesh.Incarnation}
	if again, err := checkedStats(good, self); err != nil || !bytes.Equal(again, good) {
		t.Errorf("%s became %s, %v", good, again, err)
	}
	for what, text := range map[string]string{
		"no JSON":       "{",
		"no object":     "[1]",
		"nothing":       "null",
		"of another":    strings.Replace(string(good), hex(p.incarnationID()), hex(7), 1),
		"a wrong type":  strings.Replace(string(good), `"gets":`, `"gets":"many","x":`, 1),
		"nested deeply": strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000),
		"too long":      `{"address":"` + strings.Repeat("a", maxStats) + `"}`,
	} {
		if got, err := checkedStats([]byte(text), self); err == nil {
			t.Errorf("%s was taken: %.100s", what, got)
		}
	}
	if got, err := checkedStats([]byte(strings.Replace(string(good), "{", `{"x":{"y":[[[[1]]]]},`, 1)), self); err != nil || !bytes.Equal(got, good) {
		t.Errorf("an unknown field stays: %.100s, %v", got, err)
	}
}
