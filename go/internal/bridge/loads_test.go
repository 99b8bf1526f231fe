package bridge

import (
	"errors"
	"testing"

	"guillotina_groupcache/internal/cache"
)

func TestALoadIsAnsweredOnce(t *testing.T) {
	queue, reachable := newQueue(t), true
	l := NewLoads(queue, func([][]byte) bool { return reachable })
	var results [][]cache.Result
	var errs []error
	load := func() {
		l.Load([][]byte{[]byte("k")}, func(r []cache.Result, err error) {
			results, errs = append(results, r), append(errs, err)
		})
	}
	load()
	for range 2 {
		l.Loaded(1, PackResults([]cache.Result{{Value: []byte("v"), Source: cache.Database}}), nil)
	}
	if len(errs) != 1 || errs[0] != nil || len(results[0]) != 1 || string(results[0][0].Value) != "v" {
		t.Errorf("%v, %v", results, errs)
	}
	load()
	failure := errors.New("no database")
	l.Loaded(2, nil, failure)
	load()
	l.Loaded(3, []byte{1, 2}, nil)
	reachable = false
	load()
	reachable = true
	queue.Close()
	load()
	for i, want := range []error{nil, failure, ErrMalformed, errUnreachable, errQueueFull} {
		if !errors.Is(errs[i], want) {
			t.Errorf("load %d: %v, want %v", i, errs[i], want)
		}
	}
	if n := l.Waiting(); n != 0 {
		t.Errorf("%d loads are left over", n)
	}
}
