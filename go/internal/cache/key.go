package cache

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// VersionedKey is a key, and the version of its bucket when it was requested. It stands for one value forever.
type VersionedKey struct {
	Key     []byte
	Version uint64
}

// Hash returns the hash of a key, the same in every process: it places keys on the ring and in buckets.
func Hash(key []byte) uint64 { return xxhash.Sum64(key) }

// keyMark begins every ring key, so that ringHash can tell them from the ring's points, which are hexadecimal digits.
const keyMark = 0

// ringKey returns k as groupcache's key: the mark, the key, eight bytes of version.
func (k VersionedKey) ringKey() string {
	b := make([]byte, 0, 1+len(k.Key)+8)
	b = append(append(b, keyMark), k.Key...)
	return string(binary.BigEndian.AppendUint64(b, k.Version))
}

// parseRingKey is the inverse of ringKey. It returns false for a string that ringKey did not return.
func parseRingKey(s string) (VersionedKey, bool) {
	if len(s) < 1+8 || s[0] != keyMark {
		return VersionedKey{}, false
	}
	end := len(s) - 8
	return VersionedKey{Key: []byte(s[1:end]), Version: binary.BigEndian.Uint64([]byte(s[end:]))}, true
}

// ringHash places peers and keys on the ring. It ignores a key's version: all versions have the same owner, whose store
// replaces the superseded one.
func ringHash(data []byte) uint64 {
	if len(data) >= 1+8 && data[0] == keyMark {
		return Hash(data[1 : len(data)-8])
	}
	return Hash(data)
}
