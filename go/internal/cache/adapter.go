package cache

import (
	"github.com/groupcache/groupcache-go/v3"
	"github.com/groupcache/groupcache-go/v3/transport"

	"guillotina_groupcache/internal/store"
)

// view is a store as groupcache's cache: it translates names, and adds only what groupcache
// alone knows of.
type view struct {
	store *store.Store
	// keep is false for the main cache, where the owner has stored the value already, for
	// peers too, which never pass through groupcache here.
	keep bool
}

var _ groupcache.Cache = (*view)(nil)

func (v *view) Get(key string) (transport.ByteView, bool) {
	name, ok := parseRingKey(key)
	if !ok {
		return transport.ByteView{}, false
	}
	value, expires, ok := v.store.Get(name.Key, name.Version, nil)
	if value == nil { // a nil view would be an empty string to groupcache; keep it bytes
		value = []byte{}
	}
	return transport.ByteViewWithExpire(value, toWall(expires)), ok
}

func (v *view) Add(key string, value transport.ByteView) {
	if name, ok := parseRingKey(key); ok && v.keep {
		v.store.Add(name.Key, name.Version, value.ByteSlice(), fromWall(value.Expire()))
	}
}

func (v *view) Remove(key string) {
	if name, ok := parseRingKey(key); ok {
		v.store.Remove(name.Key)
	}
}

func (v *view) Stats() groupcache.CacheStats {
	s := v.store.Stats()
	return groupcache.CacheStats{Rejected: s.Rejected, Bytes: s.Bytes, Items: s.Items,
		Gets: s.Gets, Hits: s.Hits, Evictions: s.Evictions}
}

func (v *view) Bytes() int64 { return v.store.Stats().Bytes }

// Close leaves the store to its owner, the [Group].
func (v *view) Close() {}
