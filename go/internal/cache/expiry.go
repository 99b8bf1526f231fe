package cache

import (
	"time"

	"guillotina_groupcache/internal/store"
)

// Never is the expiry of a value without a TTL. Every other expiry is an instant of [Config.Now] in nanoseconds. That
// clock is not Unix time, which can be set back and would then prolong the life of what is kept.
const Never = store.Never

// expiry returns when a value expires that the database held at from, or later; a ttl of 0 is no limit. A value's life
// begins before the query that loads it, however late the answer comes.
func expiry(from int64, ttl time.Duration) int64 {
	if ttl <= 0 || from > Never-int64(ttl) {
		return Never
	}
	return from + int64(ttl)
}

// toTime returns an expiry in the form in which groupcache passes it through; the zero time is groupcache's "never".
// groupcache never compares it to a clock: only its LRU would, which [store.Store] replaces.
func toTime(expires int64) time.Time {
	if expires == Never {
		return time.Time{}
	}
	return time.Unix(0, expires)
}

// fromTime is the inverse of toTime.
func fromTime(t time.Time) int64 {
	if t.IsZero() {
		return Never
	}
	return t.UnixNano()
}
