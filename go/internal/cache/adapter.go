package cache

import (
	"github.com/groupcache/groupcache-go/v3"
	"github.com/groupcache/groupcache-go/v3/transport"

	"guillotina_groupcache/internal/store"
)

// adapter makes a store groupcache's cache: it translates ring keys into versioned keys.
type adapter struct {
	store *store.Store
	// keeps is false for the main store, in which the owner's part has stored the value already.
	keeps bool
}

var _ groupcache.Cache = (*adapter)(nil)

func (a *adapter) Get(ringKey string) (transport.ByteView, bool) {
	key, ok := parseRingKey(ringKey)
	if !ok {
		return transport.ByteView{}, false
	}
	value, expires, ok := a.store.Get(key.Key, key.Version, nil)
	if value == nil { // of nil groupcache would make an empty string; bytes stay bytes
		value = []byte{}
	}
	return transport.ByteViewWithExpire(value, toTime(expires)), ok
}

func (a *adapter) Add(ringKey string, value transport.ByteView) {
	if key, ok := parseRingKey(ringKey); ok && a.keeps {
		a.store.Add(key.Key, key.Version, value.ByteSlice(), fromTime(value.Expire()))
	}
}

func (a *adapter) Remove(ringKey string) {
	if key, ok := parseRingKey(ringKey); ok {
		a.store.Remove(key.Key)
	}
}

func (a *adapter) Stats() groupcache.CacheStats {
	s := a.store.Stats()
	return groupcache.CacheStats{Rejected: s.Rejected, Bytes: s.Bytes, Items: s.Items,
		Gets: s.Gets, Hits: s.Hits, Evictions: s.Evictions}
}

func (a *adapter) Bytes() int64 { return a.store.Stats().Bytes }

// Close does nothing: the [Group] closes its stores.
func (a *adapter) Close() {}
