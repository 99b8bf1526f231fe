package cache

import (
	"testing"

	"github.com/groupcache/groupcache-go/v3/transport"
)

func TestAdapter(t *testing.T) {
	ringKey := VersionedKey{[]byte("a"), 2}.ringKey()
	for what, keeps := range map[string]bool{"the main store": false, "the hot store": true} {
		store := newStore(t, (&testClock{now: 1000}).read)
		a := &adapter{store: store, keeps: keeps}
		a.Add("no ring key", transport.ByteViewFrom([]byte("v")))
		a.Add(ringKey, transport.ByteViewFrom([]byte("v")))
		if _, ok := a.Get(ringKey); ok != keeps {
			t.Errorf("%s keeps what groupcache adds: %v, want %v", what, ok, keeps)
		}
		store.Add([]byte("a"), 2, nil, 1500)
		if got, ok := a.Get(ringKey); !ok || got.Len() != 0 {
			t.Errorf("%s returns %q, %v for an empty value", what, got.String(), ok)
		} else if fromTime(got.Expire()) != 1500 {
			t.Errorf("%s returns the expiry %v", what, got.Expire())
		}
		if _, ok := a.Get("no ring key"); ok {
			t.Errorf("%s has a value for a string that is no ring key", what)
		}
		if s := a.Stats(); s.Items != 1 || a.Bytes() != store.Stats().Bytes {
			t.Errorf("%s has %d items and %d bytes", what, s.Items, a.Bytes())
		}
		a.Remove("no ring key")
		a.Remove(ringKey)
		if store.Has([]byte("a"), 2) {
			t.Errorf("%s still has the value that was removed", what)
		}
		a.Close()
		if !store.Add([]byte("b"), 2, nil, Never) {
			t.Errorf("%s was closed by its adapter", what)
		}
	}
}
