package node

import (
	"encoding/json"
	"errors"
	"testing"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/mesh"
)

// The value of one transaction must not be kept when another one, which it knows of, has committed
// a later value before it settled (R8).
func TestNothingIsPushedOverAnotherEvent(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	key := keyOf(a, 0)
	first := a.announce(key)
	db.with(func() { db.values[key] = "old" })
	second := b.announce(key)
	db.with(func() { db.values[key] = "new" })
	if err := b.Settle(second, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second one is settled at the first", func() bool {
		text, err := a.Stats()
		var stats statistics
		must(t, errors.Join(err, json.Unmarshal(text, &stats)))
		return stats.Events.Open == 1
	})
	if err := a.Settle(first, packed(key, "old")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is settled", func() bool { return a.settled(key) && b.settled(key) })
	for _, p := range []*process{a, b, a} {
		if got := p.get(key); got != "new" {
			t.Errorf("got %q", got)
		}
	}
}

// A pushed value is stored under the version that the bucket has from then on, also when it had many before,
// and under no version that other processes may still give it.
func TestAPushLiesUnderTheVersionAfterItsSettlement(t *testing.T) {
	p := open(t, newDatabase(), settings{"alone": true})
	for _, value := range []string{"1", "2", "3"} {
		before, _ := p.Memory.table.Version(p.Memory.table.Bucket(cache.Hash([]byte("k"))))
		p.write("k", value, true)
		n, found := p.Lookup([]byte("k"), make([]byte, 10))
		if n != 1 || found.Version == before || p.db.loadsOf("k") != 0 {
			t.Errorf("after %q: found %d bytes, version %d, which was %d", value, n, found.Version, before)
		}
		if got := p.get("k"); got != value {
			t.Errorf("got %q, want %q", got, value)
		}
	}
}

// A key that bypasses has no version to push under.
func TestAProcessThatBypassesPushesNothing(t *testing.T) {
	p := open(t, newDatabase(), settings{"listen": unixAddress(t), "lease": 0.5})
	eventually(t, "it serves", p.serves)
	event := p.announce("k")
	resume := p.pausePython() // no view comes: the lease runs out
	defer resume()
	eventually(t, "it serves no more", func() bool { return !p.serves() })
	must(t, p.Settle(event, packed("k", "v")))
	if n := p.counts.pushed.Load(); n != 0 {
		t.Errorf("%d values were pushed", n)
	}
}

// A settlement is sent at once, and before the pushed values.
func TestNothingIsLeftToSendAfterASettlement(t *testing.T) {
	a, b, _ := three(t, newDatabase())
	for i := range 20 {
		key := keyOf(b, i)
		must(t, a.Settle(a.announce(key), packed(key, "v")))
		a.driver.Lock()
		left := a.driver.machine.Actions()
		a.driver.Unlock()
		if len(left) > 0 {
			t.Fatalf("%d messages wait", len(left))
		}
	}
}

// An expired value is not sent: the owner would take it for malformed and end the session.
func TestAnExpiredValueIsNotPushed(t *testing.T) {
	a, b, _ := three(t, newDatabase())
	session := a.mesh.SessionTo(b.mesh.Address)
	a.peers().Put(b.mesh.Address, 1, cache.VersionedKey{Key: []byte("k")}, []byte("v"), int64(now())-1)
	if _, err := session.Call(t.Context(), mesh.FrameStats, nil); err != nil {
		t.Errorf("the session has ended: %v", err)
	}
}
