package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	"guillotina_groupcache/internal/cache"
)

// Lists cross both borders, to Python and to peers, in one form: each element behind its
// length, 4 bytes, little endian. A name is a version, 8 bytes, and a key; a result is its
// source, 1 byte, and a value; to peers it has its life between the two, see life.go.

var errPacked = errors.New("node: malformed list")

func appendBytes(b, element []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(element)))
	return append(b, element...)
}

// takeBytes returns the first element, which is part of b, and the rest.
func takeBytes(b []byte) (element, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errPacked
	}
	n := binary.LittleEndian.Uint32(b)
	b = b[4:]
	if uint64(n) > uint64(len(b)) {
		return nil, nil, errPacked
	}
	return b[:n:n], b[n:], nil
}

func unpackKeys(b []byte) (keys [][]byte, err error) {
	for len(b) > 0 {
		var key []byte
		if key, b, err = takeBytes(b); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func packNames(names []cache.VersionedKey) []byte {
	size := 0
	for _, n := range names {
		size += 8 + 4 + len(n.Key)
	}
	b := make([]byte, 0, size)
	for _, n := range names {
		b = binary.LittleEndian.AppendUint64(b, n.Version)
		b = appendBytes(b, n.Key)
	}
	return b
}

// fitting returns how many names, from the first on, fit one request; 0: the first one fits none.
func fitting(names []cache.VersionedKey) int {
	size := 0
	for i, n := range names[:min(len(names), maxNames)] {
		if size += 8 + 4 + len(n.Key); size > maxRequest || len(n.Key) > maxKey {
			return i
		}
	}
	return min(len(names), maxNames)
}

// unpackNames copies: the names outlive b. More than fit a request are an error.
func unpackNames(b []byte) (names []cache.VersionedKey, err error) {
	if len(b) > maxRequest {
		return nil, fmt.Errorf("node: names of %d bytes, at most %d are allowed", len(b), maxRequest)
	}
	b = append([]byte(nil), b...)
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, errPacked
		}
		if len(names) == maxNames {
			return nil, fmt.Errorf("node: more than %d names", maxNames)
		}
		n := cache.VersionedKey{Version: binary.LittleEndian.Uint64(b)}
		if n.Key, b, err = takeBytes(b[8:]); err != nil {
			return nil, err
		}
		if len(n.Key) > maxKey {
			return nil, fmt.Errorf("node: a key of %d bytes, at most %d are allowed", len(n.Key), maxKey)
		}
		names = append(names, n)
	}
	return names, nil
}

// packResults packs results in order until they exceed budget bytes, the first one always.
// A failed result has source [cache.Nowhere]; those past the budget are left out.
func packResults(results []cache.Result, budget int) []byte {
	size := 0
	for i, r := range results {
		if size += 1 + 4 + len(r.Value); size > budget && i > 0 {
			results = results[:i]
			break
		}
	}
	b := make([]byte, 0, min(size, budget+1+4))
	for _, r := range results {
		b = append(b, byte(r.Source))
		b = appendBytes(b, r.Value)
	}
	return b
}

var errNotThere = errors.New("node: no value")

func unpackResults(b []byte) (results []cache.Result, err error) {
	for len(b) > 0 {
		r := cache.Result{Source: cache.Source(b[0])}
		if r.Value, b, err = takeBytes(b[1:]); err != nil {
			return nil, err
		}
		if r.Source > cache.Deduplicated {
			return nil, errPacked
		}
		if r.Source == cache.Nowhere {
			r.Err = errNotThere
		}
		results = append(results, r)
	}
	return results, nil
}
