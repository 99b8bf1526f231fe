package node

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// Between processes a value carries its life: how long it may still be used, 8 bytes,
// little-endian nanoseconds. An instant would mean nothing: each process has a clock of its own.
// A value that has ended has no form: it is sent as one that is not there.

// forever is the life of a value without a ttl. A number of its own, so that neither 0 nor a
// number that is cut or added to can be taken for it.
const forever = math.MaxUint64

// longestLife is the longest ttl that there is; a peer that tells of more is taken to mean it.
const longestLife = 365 * 24 * time.Hour

// lifeOf returns the life at an instant of a value that ends at expires; 0: it has ended.
func lifeOf(expires int64, at coherence.Time) uint64 {
	switch {
	case expires == cache.Never:
		return forever
	case expires <= int64(at):
		return 0
	}
	return uint64(expires - int64(at))
}

// expiryOf returns when a value ends whose life is counted from an instant; it is false for what
// is no life.
func expiryOf(life uint64, from coherence.Time) (expires int64, ok bool) {
	switch {
	case life == forever:
		return cache.Never, true
	case life == 0 || life > math.MaxInt64:
		return 0, false
	}
	return int64(from.Add(min(time.Duration(life), longestLife))), true
}

// packAnswer packs results for a peer at an instant, in order until they exceed budget bytes, the
// first one always; those past the budget are left out. What failed, or has ended meanwhile, is
// a result from [cache.Nowhere], and the peer gets it by another way.
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
		b = appendBytes(b, r.Value)
	}
	return b
}

// unpackAnswer is the inverse of packAnswer for a question for so many names that was asked at an
// instant, from which the lives are counted: so the time that the answer took prolongs none. There
// is at least one result, and none for what was not asked.
func unpackAnswer(b []byte, names int, asked coherence.Time) (results []cache.Result, err error) {
	if len(b) == 0 {
		return nil, errPacked
	}
	for len(b) > 0 {
		if len(results) == names {
			return nil, fmt.Errorf("node: results for more than the %d names that were asked for", names)
		}
		if len(b) < 1+8 {
			return nil, errPacked
		}
		r := cache.Result{Source: cache.Source(b[0])}
		life := binary.LittleEndian.Uint64(b[1:])
		if r.Value, b, err = takeBytes(b[1+8:]); err != nil {
			return nil, err
		}
		if r.Source == cache.Nowhere {
			if life != 0 || len(r.Value) > 0 {
				return nil, errPacked
			}
			r.Err = errNotThere
		} else {
			var ok bool
			if r.Expires, ok = expiryOf(life, asked); !ok || r.Source < cache.Peer || r.Source > cache.Deduplicated {
				return nil, errPacked // own and hot are of this process, in whose statistics they count
			}
		}
		results = append(results, r)
	}
	return results, nil
}
