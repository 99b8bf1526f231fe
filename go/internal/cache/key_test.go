package cache

import (
	"bytes"
	"testing"
)

func TestRingKeysAreParsed(t *testing.T) {
	for _, key := range []string{"", "a", "\x00", "a\x00b", "\x00\x00\x00\x00\x00\x00\x00\x00\x00", "ünïcode", "\xff\xfe"} {
		for _, version := range []uint64{0, 2, 1<<64 - 2} {
			k := VersionedKey{[]byte(key), version}
			got, ok := parseRingKey(k.ringKey())
			if !ok || !bytes.Equal(got.Key, k.Key) || got.Version != version {
				t.Errorf("%q, %d was parsed as %q, %d, %v", key, version, got.Key, got.Version, ok)
			}
		}
	}
}

func TestDifferentVersionedKeysHaveDifferentRingKeys(t *testing.T) {
	seen := make(map[string]VersionedKey)
	for _, key := range []string{"", "\x00", "\x00\x00", "a", "a\x00", "a\x00\x00\x00\x00\x00\x00\x00\x02"} {
		for _, version := range []uint64{0, 2, 2 << 8} {
			k := VersionedKey{[]byte(key), version}
			if other, dup := seen[k.ringKey()]; dup {
				t.Errorf("%v and %v have the same ring key", k, other)
			}
			seen[k.ringKey()] = k
		}
	}
}

func TestParseRingKeyRefusesOtherStrings(t *testing.T) {
	for _, s := range []string{"", "\x00", "\x0012345678"[:8], "a12345678", "d41d8cd98f00b204e9800998ecf8427e"} {
		if k, ok := parseRingKey(s); ok {
			t.Errorf("%q was parsed as %v", s, k)
		}
	}
}

func TestHashIsTheSameInEveryProcess(t *testing.T) {
	// XXH64 of "" and of "a" with seed 0, as its specification gives them.
	if Hash(nil) != 0xEF46DB3751D8E999 || Hash([]byte("a")) != 0xD24EC4F1A98C6E5B {
		t.Errorf("%x, %x", Hash(nil), Hash([]byte("a")))
	}
}

func FuzzRingKey(f *testing.F) {
	f.Add([]byte("a\x00b"), uint64(2))
	f.Fuzz(func(t *testing.T, key []byte, version uint64) {
		k := VersionedKey{key, version}
		got, ok := parseRingKey(k.ringKey())
		if !ok || !bytes.Equal(got.Key, key) || got.Version != version {
			t.Errorf("%q, %d was parsed as %v, %v", key, version, got, ok)
		}
		if ringHash([]byte(k.ringKey())) != Hash(key) {
			t.Errorf("the point of %q, %d on the ring depends on its version", key, version)
		}
	})
}
