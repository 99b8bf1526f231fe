package cache

import (
	"bytes"
	"testing"
)

func TestNamesComeBackFromTheirRingKeys(t *testing.T) {
	for _, key := range []string{"", "a", "\x00", "a\x00b", "\x00\x00\x00\x00\x00\x00\x00\x00\x00", "ünïcode", "\xff\xfe"} {
		for _, version := range []uint64{0, 2, 1<<64 - 2} {
			n := VersionedKey{[]byte(key), version}
			got, ok := parseRingKey(n.ringKey())
			if !ok || !bytes.Equal(got.Key, n.Key) || got.Version != version {
				t.Errorf("%q, %d came back as %q, %d, %v", key, version, got.Key, got.Version, ok)
			}
		}
	}
}

func TestDifferentNamesHaveDifferentRingKeys(t *testing.T) {
	seen := make(map[string]VersionedKey)
	for _, key := range []string{"", "\x00", "\x00\x00", "a", "a\x00", "a\x00\x00\x00\x00\x00\x00\x00\x02"} {
		for _, version := range []uint64{0, 2, 2 << 8} {
			n := VersionedKey{[]byte(key), version}
			if other, dup := seen[n.ringKey()]; dup {
				t.Errorf("%v and %v are the same", n, other)
			}
			seen[n.ringKey()] = n
		}
	}
}

func TestWhatIsNoRingKeyIsRefused(t *testing.T) {
	for _, key := range []string{"", "\x00", "\x0012345678"[:8], "a12345678", "d41d8cd98f00b204e9800998ecf8427e"} {
		if n, ok := parseRingKey(key); ok {
			t.Errorf("%q was taken for %v", key, n)
		}
	}
}

func TestHashIsTheSameInEveryProcess(t *testing.T) {
	// XXH64 of nothing and of "a" with seed 0, from its specification.
	if Hash(nil) != 0xEF46DB3751D8E999 || Hash([]byte("a")) != 0xD24EC4F1A98C6E5B {
		t.Errorf("%x, %x", Hash(nil), Hash([]byte("a")))
	}
}

func FuzzRingKey(f *testing.F) {
	f.Add([]byte("a\x00b"), uint64(2))
	f.Fuzz(func(t *testing.T, key []byte, version uint64) {
		n := VersionedKey{key, version}
		got, ok := parseRingKey(n.ringKey())
		if !ok || !bytes.Equal(got.Key, key) || got.Version != version {
			t.Errorf("%q, %d came back as %v, %v", key, version, got, ok)
		}
		if ringHash([]byte(n.ringKey())) != Hash(key) {
			t.Errorf("the place of %q, %d on the ring depends on its version", key, version)
		}
	})
}
