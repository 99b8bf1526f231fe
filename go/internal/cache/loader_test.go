package cache

import (
	"sync"
	"testing"
	"time"
)

// patience bounds every wait of these tests. No test asserts that anything is faster.
const patience = 20 * time.Second

// eventually waits until a condition holds, which what describes.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// database is a loader whose calls are answered by the test, or by respond if it is set.
type database struct {
	respond func(c *call)

	mu    sync.Mutex
	calls []*call
}

type call struct {
	keys [][]byte
	done func([]Result, error)
}

func (d *database) Load(keys [][]byte, done func([]Result, error)) {
	c := &call{keys, done}
	d.mu.Lock()
	d.calls = append(d.calls, c)
	d.mu.Unlock()
	if d.respond != nil {
		go d.respond(c)
	}
}

// give answers with a value for each key.
func (c *call) give(values ...string) {
	results := make([]Result, len(values))
	for i, v := range values {
		results[i].Value = []byte(v)
	}
	c.done(results, nil)
}

// give answers a call with the value of each of its keys.
func give(c *call) {
	var values []string
	for _, key := range c.keys {
		values = append(values, valueOf(string(key)))
	}
	c.give(values...)
}

func valueOf(key string) string { return "the value of " + key }

// call waits for call n, counted from 0.
func (d *database) call(t testing.TB, n int) *call {
	t.Helper()
	eventually(t, "the loader is called", func() bool { return d.count() > n })
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[n]
}

func (d *database) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.calls)
}

// loadsOf returns how often a key was loaded.
func (d *database) loadsOf(key string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.calls {
		for _, k := range c.keys {
			if string(k) == key {
				n++
			}
		}
	}
	return n
}

// versioned returns keys in one version.
func versioned(version uint64, keys ...string) []VersionedKey {
	list := make([]VersionedKey, len(keys))
	for i, key := range keys {
		list[i] = VersionedKey{[]byte(key), version}
	}
	return list
}

func wantResult(t testing.TB, r Result, source Source, value string) {
	t.Helper()
	if r.Err != nil || r.Source != source || string(r.Value) != value {
		t.Errorf("got %.40q from %d with error %v, want %.40q from %d", r.Value, r.Source, r.Err, value, source)
	}
}

// within receives from a channel.
func within[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("nothing was received within %v", patience)
	}
	return v
}
