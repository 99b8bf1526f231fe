package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/mesh"
)

// A ttl is for values that are written past the cache: once it has passed since the first load began, or
// since the push was settled, no process gives the old value to a new read.
func TestATTLHasPassedEverywhereWhenItHasPassedSinceTheLoad(t *testing.T) {
	for what, first := range map[string]func(a, b *process, key string) (held coherence.Time){
		"loaded at its owner": func(_, b *process, key string) coherence.Time {
			b.db.with(func() { b.db.values[key] = "old" })
			b.read(key)
			return b.db.loadedAt(key)
		},
		"pushed to its owner": func(a, b *process, key string) (held coherence.Time) {
			event := a.announce(key)
			a.db.with(func() { a.db.values[key], held = "old", now() })
			if err := a.Settle(event, packed(key, "old")); err != nil {
				t.Error(err)
			}
			eventually(t, "the owner has it", func() bool { return b.group.Has(cache.VersionedKey{Key: []byte(key), Version: version(b, key)}) })
			return held
		},
	} {
		t.Run(what, func(t *testing.T) {
			// A machine on which the copies come too late is given more time.
			for ttl := time.Second; !outlives(t, ttl, first); ttl *= 2 {
				t.Logf("with a ttl of %v the copies came too late", ttl)
			}
		})
	}
}

func version(p *process, key string) uint64 {
	versioned, _ := p.Databases.Version([]byte(key))
	return versioned.Version
}

// outlives looks for a value that outlives a ttl. It is false when the old value had expired before the
// copies were made.
func outlives(t *testing.T, ttl time.Duration, first func(a, b *process, key string) coherence.Time) bool {
	db := newDatabase()
	var all []*process
	for range 3 {
		all = append(all, open(t, db, settings{"listen": unixAddress(t), "ttl": ttl.Seconds()}))
	}
	together(t, all...)
	a, b, c := all[0], all[1], all[2]
	key, other := keyOf(b, 0), keyOf(b, 1)
	end := first(a, b, key).Add(ttl)
	db.with(func() { db.values[key] = "new" }) // no process is notified

	eventually(t, "half of the life is over", func() bool { return now() > end.Add(-ttl/2) })
	one, many := c.read(key)[0], a.read(key, other)[0]
	for _, r := range []cache.Result{one, many} {
		if string(r.Value) != "old" || r.Source != cache.Peer {
			return false
		}
	}
	for _, p := range all {
		_, found := p.Lookup([]byte(key), make([]byte, 10))
		if found.Source != cache.Nowhere && found.Expires > end {
			t.Errorf("kept for %v too long as %d", time.Duration(found.Expires-end), found.Source)
		}
	}
	for i, p := range all {
		eventually(t, fmt.Sprintf("process %d reads the new value", i), func() bool {
			begun := now()
			value := p.get(key)
			if value == "old" && begun >= end {
				t.Errorf("process %d: the old value %v after its ttl", i, time.Duration(begun-end))
				return true
			}
			return value == "new"
		})
	}
	return true
}

// Processes may have different settings: neither is exceeded.
func TestACopyLivesNoLongerThanTheOwnTTL(t *testing.T) {
	const ttl = 1000 * time.Second
	db := newDatabase()
	owner := open(t, db, settings{"listen": unixAddress(t), "ttl": 0})
	reader := open(t, db, settings{"listen": unixAddress(t), "ttl": ttl.Seconds()})
	together(t, owner, reader)
	one, two := keyOf(owner, 0), keyOf(owner, 1)
	mine := keyOf(reader, 0)
	before := now()
	reader.readServed(one)
	reader.readServed(two, mine)
	loaded := now()
	owner.readServed(mine)
	copied := now()

	if expires := expiryIn(owner, one, cache.Own); int64(expires) != cache.Never {
		t.Errorf("without a ttl it ends at %d", expires)
	}
	for key, source := range map[string]cache.Source{one: cache.Hot, two: cache.Hot, mine: cache.Own} {
		if expires := expiryIn(reader, key, source); expires < before.Add(ttl) || expires > loaded.Add(ttl) {
			t.Errorf("%s ends at %d, read between %d and %d", key, expires, before, loaded)
		}
	}
	// What is sent is the rest of a life at the time of the answer, and it is counted from the request. So the copy
	// ends before the original, by the time that the answer took: on a busy machine that is more than the time
	// between before and the load, and the copy then ends before before.Add(ttl).
	original, shortest := expiryIn(reader, mine, cache.Own), time.Duration(loaded-copied)
	if expires := expiryIn(owner, mine, cache.Hot); expires > original || expires < original.Add(shortest) {
		t.Errorf("the copy ends at %d, the original at %d; it was copied between %d and %d", expires, original, loaded, copied)
	}
}

// expiryIn returns when a value expires that a process has in its memory, from a source.
func expiryIn(p *process, key string, source cache.Source) (expires coherence.Time) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%s is served from %v", key, source), func() bool {
		_, found := p.Lookup([]byte(key), make([]byte, 10))
		expires = found.Expires
		return found.Source == source
	})
	return expires
}

func TestImpossibleTTLs(t *testing.T) {
	for _, ttl := range []float64{-1, longestLife.Seconds() + 1, 1e300} {
		n, err := Open(form(with(settings{"alone": true, "ttl": ttl})))
		if err == nil {
			n.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "ttl") {
			t.Errorf("a ttl of %v: %v", ttl, err)
		}
	}
	// A ttl below a nanosecond is not "for ever".
	if cfg := (Config{TTL: 1e-12}); cfg.ttl() != 1 {
		t.Errorf("a short ttl is %v", cfg.ttl())
	}
}

func TestAPushedValueLivesFromItsAnnouncement(t *testing.T) {
	const writer = 77
	p := open(t, newDatabase(), settings{"alone": true, "ttl": 1000})
	announce := func(event uint64, settled bool, from coherence.Incarnation) *coherence.Message {
		id := coherence.EventID{Writer: from, Sequence: event}
		return &coherence.Message{Kind: coherence.Events, Entries: []coherence.Entry{{Event: coherence.Event{ID: id}, Settled: settled}}}
	}
	p.driver.Lock()
	p.mesh.Peers[writer] = &mesh.Peer{}
	announced := now()
	p.handler.remember(writer, announce(1, false, writer), announced)
	p.handler.remember(writer, announce(1, false, writer), announced+5) // again, over another connection
	p.handler.remember(writer, announce(2, true, writer), announced)
	p.handler.remember(writer, announce(3, false, writer+1), announced) // of another writer
	p.driver.Unlock()
	for what, c := range map[string]struct {
		event, life uint64
		from        coherence.Incarnation
		want        coherence.Time // 0: it is not kept
	}{
		"an announced event":      {1, uint64(10 * time.Second), writer, announced.Add(10 * time.Second)},
		"a life over the own ttl": {1, uint64(2000 * time.Second), writer, announced.Add(1000 * time.Second)},
		"an endless life":         {1, forever, writer, announced.Add(1000 * time.Second)},
		"one only settled":        {2, forever, writer, 0},
		"another's event":         {3, forever, writer, 0},
		"an unknown event":        {4, forever, writer, 0},
		"an unknown writer":       {1, forever, writer + 1, 0},
	} {
		versioned := cache.VersionedKey{Key: []byte(what), Version: 2}
		p.handler.keep(c.from, put{event: c.event, life: c.life, key: versioned, value: []byte("v")})
		if _, expires, _ := p.group.Lookup(versioned, make([]byte, 10)); expires != int64(c.want) {
			t.Errorf("%s is kept until %d, want %d", what, expires, c.want)
		}
	}
}

// The writer's own store counts from the announcement too: as soon as COMMIT has taken effect
// another one may write over the value, which the writer has not settled yet.
func TestAValueThatTheWriterKeepsLivesFromItsAnnouncement(t *testing.T) {
	p := open(t, newDatabase(), settings{"alone": true, "ttl": 1000})
	event := p.announce("k")
	announced := now()
	eventually(t, "the clock goes on", func() bool { return now() > announced })
	must(t, p.Settle(event, packed("k", "v")))
	_, found := p.Lookup([]byte("k"), make([]byte, 10))
	if latest := announced.Add(1000 * time.Second); found.Expires > latest {
		t.Errorf("it is kept for %v too long", time.Duration(found.Expires-latest))
	}
}

// An owner that takes its time to answer prolongs nothing: the life is counted from the request.
func TestASlowAnswerProlongsNoLife(t *testing.T) {
	const life = 10 * time.Second
	p, s := listed(t, newDatabase())
	var asked coherence.Time
	for what, keys := range map[string][]string{
		"one key":   {keyOfAnother(p, 0)},
		"many keys": {keyOfAnother(p, 1), keyOfAnother(p, 2)},
	} {
		s.mu.Lock()
		s.answer = func() ([]byte, error) {
			asked = now()
			eventually(t, "some time has passed", func() bool { return now() > asked.Add(5*time.Millisecond) })
			r := cache.Result{Value: []byte("v"), Source: cache.Peer, Expires: int64(life)}
			return packAnswer(slices.Repeat([]cache.Result{r}, len(keys)), answerBudget, 0), nil
		}
		s.mu.Unlock()
		for _, r := range p.read(keys...) {
			wantResult(t, r, cache.Peer, "v")
		}
		s.mu.Lock()
		if _, found := p.Lookup([]byte(keys[0]), make([]byte, 10)); found.Expires > asked.Add(life) || found.Source != cache.Hot {
			t.Errorf("%s: kept from %d for %v too long", what, found.Source, time.Duration(found.Expires-asked.Add(life)))
		}
		s.mu.Unlock()
	}
}
