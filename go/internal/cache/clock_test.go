package cache

import (
	"testing"
	"time"

	"guillotina_groupcache/internal/store"
)

// realClock is the clock of tests that do not set it.
func realClock() int64 { return int64(time.Since(testsBegan)) }

var testsBegan = time.Now()

// testClock is a clock that tests set.
type testClock struct{ now int64 }

func (c *testClock) read() int64 { return c.now }

// newStore returns a store of 1 MiB that the test closes.
func newStore(t testing.TB, now func() int64) *store.Store {
	t.Helper()
	s, err := store.New(1<<20, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
