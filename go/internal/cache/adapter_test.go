package cache

import (
	"testing"

	"github.com/groupcache/groupcache-go/v3/transport"
)

func TestViews(t *testing.T) {
	key := VersionedKey{[]byte("a"), 2}.ringKey()
	for what, keep := range map[string]bool{"the main store": false, "the hot store": true} {
		store := newStore(t, (&testClock{now: 1000}).read)
		v := &view{store: store, keep: keep}
		v.Add("not a name", transport.ByteViewFrom([]byte("v")))
		v.Add(key, transport.ByteViewFrom([]byte("v")))
		if _, ok := v.Get(key); ok != keep {
			t.Errorf("%s keeps what groupcache adds: %v, want %v", what, ok, keep)
		}
		store.Add([]byte("a"), 2, nil, 1500)
		if got, ok := v.Get(key); !ok || got.Len() != 0 {
			t.Errorf("%s gives %q, %v for an empty value", what, got.String(), ok)
		} else if fromWall(got.Expire()) != 1500 {
			t.Errorf("%s gives the expiry %v", what, got.Expire())
		}
		if _, ok := v.Get("not a name"); ok {
			t.Errorf("%s has what is not a name", what)
		}
		if s := v.Stats(); s.Items != 1 || v.Bytes() != store.Stats().Bytes {
			t.Errorf("%s has %d items and %d bytes", what, s.Items, v.Bytes())
		}
		v.Remove("not a name")
		v.Remove(key)
		v.Close() // leaves the store to its owner
		if store.Has([]byte("a"), 2) || !store.Add([]byte("b"), 2, nil, Never) {
			t.Errorf("%s: removing or closing does not do what it should", what)
		}
	}
}
