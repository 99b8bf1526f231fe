package cache

import (
	"time"

	"guillotina_groupcache/internal/store"
)

// Never is the expiry of a value without a ttl. Every other expiry is an instant in nanoseconds
// of the clock that [Config.Now] reads, which no one can set; Unix time can be set back, and
// would then prolong what is kept.
const Never = store.Never

// expiry is when a value ends that was in the database at from, or later; ttl 0 is no limit. A
// value is as old as the question to the database, however late the answer comes, so from is
// an instant before that question.
func expiry(from int64, ttl time.Duration) int64 {
	if ttl <= 0 || from > Never-int64(ttl) {
		return Never
	}
	return from + int64(ttl)
}

// toWall gives an expiry the form in which groupcache carries it through; the zero time is its
// "never". groupcache's own code compares none: only its LRU does, and its place is the [Store]'s.
func toWall(expires int64) time.Time {
	if expires == Never {
		return time.Time{}
	}
	return time.Unix(0, expires)
}

// fromWall is the inverse of toWall.
func fromWall(t time.Time) int64 {
	if t.IsZero() {
		return Never
	}
	return t.UnixNano()
}
