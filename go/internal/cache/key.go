package cache

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// VersionedKey is what a value is stored under: a key, and the version of its bucket when it was
// asked for. A name means one value for ever.
type VersionedKey struct {
	Key     []byte
	Version uint64
}

// Hash of a key, the same in every process: the ring and the buckets are made of it.
func Hash(key []byte) uint64 { return xxhash.Sum64(key) }

// nameMark begins the form of a name that groupcache sees, so that ringHash can tell it from
// the points of the ring, which are hexadecimal digits.
const nameMark = 0

// ringKey returns the name as groupcache's key: the mark, the key, eight bytes of version.
func (n VersionedKey) ringKey() string {
	b := make([]byte, 0, 1+len(n.Key)+8)
	b = append(append(b, nameMark), n.Key...)
	return string(binary.BigEndian.AppendUint64(b, n.Version))
}

// parseRingKey is the inverse of ringKey; it is false for what ringKey did not make.
func parseRingKey(key string) (VersionedKey, bool) {
	if len(key) < 1+8 || key[0] != nameMark {
		return VersionedKey{}, false
	}
	at := len(key) - 8
	return VersionedKey{Key: []byte(key[1:at]), Version: binary.BigEndian.Uint64([]byte(key[at:]))}, true
}

// ringHash places both peers and names on the ring. Of a name only the key counts: all
// versions of a key have one owner, whose store replaces the superseded one.
func ringHash(data []byte) uint64 {
	if len(data) >= 1+8 && data[0] == nameMark {
		return Hash(data[1 : len(data)-8])
	}
	return Hash(data)
}

// Source tells where a value came from.
type Source uint8

const (
	// Nowhere is a value that was not found or could not be got.
	Nowhere Source = iota
	// Own is the main store of this process, which owns the key.
	Own
	// Hot is this process's copy of a value that another owns.
	Hot
	// Peer is the memory of the owner, asked over the network.
	Peer
	// Database is a load that this request caused, here or at the owner.
	Database
	// Deduplicated is a load that was under way for another request.
	Deduplicated
)

// Result is a value, or why there is none.
type Result struct {
	Value   []byte
	Source  Source
	Expires int64 // of a value: an instant of the cache's clock, or [Never]
	Err     error
}
