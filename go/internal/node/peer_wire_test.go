package node

import (
	"bytes"
	"testing"

	"guillotina_groupcache/internal/cache"
)

func TestVersionedKeysThatAreCutAreRefused(t *testing.T) {
	keys := packKeys([]cache.VersionedKey{{Key: []byte("a\x00"), Version: 2}, {Key: nil, Version: 1<<64 - 2}})
	for n := range keys {
		if _, err := unpackKeys(keys[:n]); (err == nil) != (n == 0 || n == 8+4+2) {
			t.Errorf("versioned keys cut to %d bytes: %v", n, err)
		}
	}
}

func FuzzUnpackKeys(f *testing.F) {
	f.Add(packKeys([]cache.VersionedKey{{Key: []byte("a"), Version: 2}, {}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if keys, err := unpackKeys(b); err == nil && !bytes.Equal(packKeys(keys), b) {
			t.Errorf("%v was read as %v", b, keys)
		}
	})
}

func FuzzUnpackPut(f *testing.F) {
	for _, life := range []uint64{1, forever, 0, 1 << 63} {
		p := put{event: 7, life: life, key: cache.VersionedKey{Key: []byte("a"), Version: 2}}
		f.Add(append(packPut(p), "value"...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := unpackPut(b)
		if err == nil && !bytes.Equal(append(packPut(p), p.value...), b) {
			t.Errorf("%v was read as %v", b, p)
		}
		if _, ok := expiryOf(p.life, 0); err == nil && !ok {
			t.Errorf("%v has the life %d", b, p.life)
		}
	})
}
