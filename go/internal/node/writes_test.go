package node

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
)

func TestAfterAWriteEveryoneReadsTheNewValueAtOnce(t *testing.T) {
	db := newDatabase()
	a, b, c := three(t, db)
	for i := range 30 {
		writer := []*process{a, b, c}[i%3]
		writer.write("k", fmt.Sprint(i), i%2 == 0)
		for j, p := range []*process{a, b, c} {
			if got := p.get("k"); got != fmt.Sprint(i) {
				t.Fatalf("after write %d process %d reads %q", i, j, got)
			}
		}
	}
}

// Once a commit is acknowledged, or any process has read its value, no process reads an older one.
func TestReadersNeverGoBack(t *testing.T) {
	db := newDatabase()
	a, b, c := three(t, db)
	keys := []string{keyOf(a, 0), keyOf(b, 0), keyOf(c, 0)}
	floors := make([]atomic.Int64, len(keys))
	raise := func(floor *atomic.Int64, to int64) {
		for was := floor.Load(); to > was && !floor.CompareAndSwap(was, to); was = floor.Load() {
		}
	}
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	var hits atomic.Int64
	for i := range 9 {
		p := []*process{a, b, c}[i%3]
		readers.Go(func() {
			for n := i; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				key := n % len(keys)
				floor := floors[key].Load()
				text := p.get(keys[key])
				value, _ := strconv.ParseInt(text, 10, 64)
				if value < floor {
					t.Errorf("read %d of a key that was seen at %d", value, floor)
					return
				}
				raise(&floors[key], value)
				hits.Add(1)
			}
		})
	}
	const writes = 40
	for i, p := range []*process{a, b, c} {
		writers.Go(func() { // one writer per key, so that its values rise
			for n := range writes {
				before := hits.Load()
				p.write(keys[i], fmt.Sprint(n+1), n%2 == 0)
				raise(&floors[i], int64(n+1))
				eventually(t, "readers go on", func() bool { return hits.Load() > before || t.Failed() })
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

func TestAPushReachesTheOwner(t *testing.T) {
	db := newDatabase()
	a, b, c := three(t, db)
	key := keyOf(b, 0)
	a.write(key, "v", true)
	eventually(t, "the owner has it", func() bool {
		n, found := b.Lookup([]byte(key), make([]byte, 10))
		return n == 1 && found.Source == cache.Own
	})
	eventually(t, "the third one knows of the settlement", func() bool { return c.settled(key) })
	wantResult(t, c.read(key)[0], cache.Peer, "v")
	if n := db.loadsOf(key); n != 0 {
		t.Errorf("%d loads", n)
	}
}

func TestAKeyIsInDoubtFromItsAnnouncementToItsSettlement(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	db.with(func() { db.values["k"], db.values["other"] = "v", "w" })
	a.get("k")
	event := a.announce("k")
	for _, p := range []*process{a, b} {
		if n, _ := p.Lookup([]byte("k"), nil); n != Bypass {
			t.Errorf("lookup gave %d", n)
		}
		results := p.read("k", "other")
		wantResult(t, results[0], cache.Nowhere, "")
		wantResult(t, results[1], results[1].Source, "w")
	}
	if err := a.Settle(event, nil); err != nil {
		t.Error(err)
	}
	eventually(t, "it is out of doubt", func() bool { return a.settled("k") && b.settled("k") })
}

func TestAnEventOverEverythingBumpsEverything(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	db.with(func() { db.values["k"] = "v" })
	a.get("k")
	event := a.announce()
	if b.settled("k") || b.settled("anything") {
		t.Error("something is out of doubt")
	}
	db.with(func() { db.values["k"] = "w" })
	if err := a.Settle(event, nil); err != nil {
		t.Error(err)
	}
	for _, p := range []*process{a, b} {
		if got := p.get("k"); got != "w" {
			t.Errorf("got %q", got)
		}
	}
}

func TestMalformedPushesSettleAllTheSame(t *testing.T) {
	p := open(t, newDatabase(), settings{"alone": true})
	for what, pushes := range map[string][]byte{"a key without value": packed("k"), "no list": {1, 0, 0, 0}} {
		event := p.announce("k")
		if err := p.Settle(event, pushes); err == nil {
			t.Errorf("%s was taken", what)
		}
		if !p.settled("k") {
			t.Errorf("%s left the key in doubt", what)
		}
	}
}

func TestALostCommitEndsWhenTheDatabaseSaysSo(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	db.with(func() { db.open["lost"] = true })
	a.Lost(a.announce("k"))
	if a.settled("k") || b.settled("k") {
		t.Error("out of doubt while nobody knows")
	}
	db.with(func() { delete(db.open, "lost") })
	eventually(t, "it is over", func() bool { return a.settled("k") && b.settled("k") })
}

// fill fills the queue to the last byte.
func fill(p *process) {
	for size := 64 << 20; size > 0; size /= 2 {
		for p.Queue.Put(bridge.Log, 0, make([]byte, size)) {
		}
	}
	for p.Queue.Put(bridge.Log, 0, nil) {
	}
}

func TestAFullQueueLosesNoAnswer(t *testing.T) {
	p := open(t, newDatabase(), settings{"alone": true})
	resume := p.pausePython()
	defer resume()
	fill(p)
	event, err := p.Announce("db", packed("k"), false)
	if err != nil {
		t.Fatal(err)
	}
	cleared, read := p.expect(true, event), p.begin("a", "b")
	resume()
	p.await("the commit may be sent", cleared)
	if results, err := bridge.UnpackResults(p.await("the read is answered", read)); err != nil || len(results) != 2 {
		t.Errorf("got %v, %v", results, err)
	}
}

// A view that a full queue refuses is queried again when there is room.
func TestAFullQueueDoesNotEndViews(t *testing.T) {
	db := newDatabase()
	p := open(t, db, settings{"listen": unixAddress(t), "lease": 0.5})
	eventually(t, "it serves", p.serves)
	for full := false; !full; {
		resume := p.pausePython()
		p.driver.Lock()
		if full = len(p.queries.Pending) == 0; full { // no query is on its way: the next one does not fit
			fill(p)
		}
		p.driver.Unlock()
		if full {
			eventually(t, "its lease has run out", func() bool { return !p.serves() })
		}
		resume()
	}
	eventually(t, "it serves again", p.serves)
}

// A load that a full queue refuses fails at once.
func TestAFullQueueEndsALoad(t *testing.T) {
	p := open(t, newDatabase(), settings{"alone": true})
	resume := p.pausePython()
	defer resume()
	fill(p)
	answer := p.begin("k")
	eventually(t, "the load is given up", func() bool {
		_, _, failed := p.group.Loads()
		return failed == 1 && p.Loads.Waiting() == 0
	})
	resume()
	p.await("the read is answered", answer)
}

// A deferred completion is not overtaken by a later one that would fit.
func TestDeferredCompletionsComeInOrder(t *testing.T) {
	p := open(t, newDatabase(), settings{"alone": true})
	resume := p.pausePython()
	defer resume()
	fill(p)
	p.Queue.Deliver(bridge.PeerStats, 1, []byte("[]"))
	buf := make([]byte, 128<<20)
	var order []uint64
	drain := func() {
		for b := buf[:max(p.Queue.Drain(buf), 0)]; len(b) > 0; b = b[binary.LittleEndian.Uint32(b):] {
			if bridge.CompletionKind(b[4]) == bridge.PeerStats {
				order = append(order, binary.LittleEndian.Uint64(b[8:]))
			}
		}
	}
	drain()
	p.Queue.Deliver(bridge.PeerStats, 2, []byte("[]"))
	eventually(t, "both have come", func() bool {
		drain()
		return len(order) == 2
	})
	if order[0] != 1 {
		t.Errorf("the order is %v", order)
	}
}
