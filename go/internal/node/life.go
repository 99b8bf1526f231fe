package node

import (
	"math"
	"time"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// Between processes a value carries its life: how long it may still be used, in nanoseconds. An
// instant would mean nothing there, because each process has a clock of its own. A value that has
// expired has no life, so it is sent as no value.

// forever is the life of a value without a ttl. It is a number of its own, far from 0 and from every
// length of time, so that no damaged life is mistaken for it.
const forever = math.MaxUint64

// longestLife is the longest ttl; a longer life that a peer sends counts as this one.
const longestLife = 365 * 24 * time.Hour

// lifeOf returns the life, at an instant, of a value that expires at expires; 0: it has expired.
func lifeOf(expires int64, at coherence.Time) uint64 {
	switch {
	case expires == cache.Never:
		return forever
	case expires <= int64(at):
		return 0
	}
	return uint64(expires - int64(at))
}

// expiryOf returns when a value expires whose life is counted from an instant; it is false for a
// number that is no life.
func expiryOf(life uint64, from coherence.Time) (expires int64, ok bool) {
	switch {
	case life == forever:
		return cache.Never, true
	case life == 0 || life > math.MaxInt64:
		return 0, false
	}
	return int64(from.Add(min(time.Duration(life), longestLife))), true
}
