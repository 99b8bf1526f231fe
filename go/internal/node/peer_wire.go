package node

import (
	"encoding/binary"
	"fmt"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// The bodies of frames about values. A request is a list of versioned keys: version (8 bytes) and key.
// An answer is a list of results: source (1 byte), life (8 bytes, see life.go) and value. A push is
// the number of an event, a life, a versioned key, and then the value. Keys and values are elements
// as in package bridge; numbers are little endian.

func packKeys(keys []cache.VersionedKey) []byte {
	size := 0
	for _, k := range keys {
		size += 8 + 4 + len(k.Key)
	}
	b := make([]byte, 0, size)
	for _, k := range keys {
		b = binary.LittleEndian.AppendUint64(b, k.Version)
		b = bridge.AppendElement(b, k.Key)
	}
	return b
}

// fitting returns how many keys, from the first one on, fit one request; 0: the first one fits none.
func fitting(keys []cache.VersionedKey) int {
	size := 0
	for i, k := range keys[:min(len(keys), maxKeys)] {
		if size += 8 + 4 + len(k.Key); size > maxRequest || len(k.Key) > maxKey {
			return i
		}
	}
	return min(len(keys), maxKeys)
}

// unpackKeys copies, because the keys outlive b. More keys than fit one request are an error.
func unpackKeys(b []byte) (keys []cache.VersionedKey, err error) {
	if len(b) > maxRequest {
		return nil, fmt.Errorf("node: a request of %d bytes, at most %d are allowed", len(b), maxRequest)
	}
	b = append([]byte(nil), b...)
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, bridge.ErrMalformed
		}
		if len(keys) == maxKeys {
			return nil, fmt.Errorf("node: more than %d keys in one request", maxKeys)
		}
		k := cache.VersionedKey{Version: binary.LittleEndian.Uint64(b)}
		if k.Key, b, err = bridge.TakeElement(b[8:]); err != nil {
			return nil, err
		}
		if len(k.Key) > maxKey {
			return nil, fmt.Errorf("node: a key of %d bytes, at most %d are allowed", len(k.Key), maxKey)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// packAnswer packs results at an instant, in order until they exceed budget bytes, but always the
// first one; those past the budget are left out. A result that failed or has expired meanwhile has
// source [cache.Nowhere], and the peer gets it in another way.
func packAnswer(results []cache.Result, budget int, at coherence.Time) []byte {
	size := 0
	for i, r := range results {
		if size += 1 + 8 + 4 + len(r.Value); size > budget && i > 0 {
			results = results[:i]
			break
		}
	}
	b := make([]byte, 0, min(size, budget+1+8+4))
	for _, r := range results {
		life := lifeOf(r.Expires, at)
		if r.Source == cache.Nowhere || life == 0 {
			r.Source, r.Value, life = cache.Nowhere, nil, 0
		}
		b = append(b, byte(r.Source))
		b = binary.LittleEndian.AppendUint64(b, life)
		b = bridge.AppendElement(b, r.Value)
	}
	return b
}

// unpackAnswer is the inverse of packAnswer for a request for so many keys that was sent at an
// instant. Lives are counted from that instant, so that the time that the answer took prolongs none.
// There is at least one result, and none for what was not requested.
func unpackAnswer(b []byte, keys int, asked coherence.Time) (results []cache.Result, err error) {
	if len(b) == 0 {
		return nil, bridge.ErrMalformed
	}
	for len(b) > 0 {
		if len(results) == keys {
			return nil, fmt.Errorf("node: results for more than the %d requested keys", keys)
		}
		if len(b) < 1+8 {
			return nil, bridge.ErrMalformed
		}
		r := cache.Result{Source: cache.Source(b[0])}
		life := binary.LittleEndian.Uint64(b[1:])
		if r.Value, b, err = bridge.TakeElement(b[1+8:]); err != nil {
			return nil, err
		}
		if r.Source == cache.Nowhere {
			if life != 0 || len(r.Value) > 0 {
				return nil, bridge.ErrMalformed
			}
			r.Err = bridge.ErrNoValue
		} else {
			var ok bool
			if r.Expires, ok = expiryOf(life, asked); !ok || r.Source < cache.Peer || r.Source > cache.Deduplicated {
				return nil, bridge.ErrMalformed // own and hot belong to this process, whose statistics count them
			}
		}
		results = append(results, r)
	}
	return results, nil
}

// put is a pushed value on its way to its owner.
type put struct {
	event uint64 // the writer's number
	life  uint64 // when it was sent
	key   cache.VersionedKey
	value []byte
}

// packPut packs a put without its value, which follows as it is.
func packPut(p put) []byte {
	b := binary.LittleEndian.AppendUint64(nil, p.event)
	b = binary.LittleEndian.AppendUint64(b, p.life)
	return append(b, packKeys([]cache.VersionedKey{p.key})...)
}

// unpackPut is the inverse of packPut; the value is a part of b.
func unpackPut(b []byte) (p put, err error) {
	if len(b) < 3*8 {
		return put{}, bridge.ErrMalformed
	}
	p.event, p.life = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	if _, ok := expiryOf(p.life, 0); !ok {
		return put{}, bridge.ErrMalformed
	}
	b = b[2*8:]
	if _, p.value, err = bridge.TakeElement(b[8:]); err != nil {
		return put{}, err
	}
	keys, err := unpackKeys(b[:len(b)-len(p.value)])
	if err != nil {
		return put{}, err
	}
	p.key = keys[0]
	return p, nil
}
