package transport

import (
	"errors"
	"testing"
)

// A frame counts until it is written, and not only until it is taken.
func TestQueueBounds(t *testing.T) {
	cases := []struct {
		limits Limits
		fits   int // frames of 10 bytes
	}{
		{Limits{QueueFrames: 3, QueueBytes: 1000}, 3},
		{Limits{QueueFrames: 1000, QueueBytes: 49}, 4},
	}
	for _, c := range cases {
		q := newQueue(c.limits)
		for range c.fits {
			if _, err := q.put(make([]byte, 10), false); err != nil {
				t.Fatal(err)
			}
		}
		full := func() bool {
			_, err := q.put(make([]byte, 10), false)
			return errors.Is(err, ErrOverload)
		}
		if !full() {
			t.Fatalf("%+v: no overload", c.limits)
		}
		if batch, _, open := q.take(); len(batch) != c.fits || !open {
			t.Fatalf("took %d frames, open: %v", len(batch), open)
		}
		if !full() {
			t.Fatalf("%+v: room before anything was written", c.limits)
		}
		q.written(10)
		if full() || !full() {
			t.Fatalf("%+v: room for none or for more than one frame", c.limits)
		}
		q.close()
		if _, err := q.put(nil, false); !errors.Is(err, ErrClosed) {
			t.Fatalf("closed: %v", err)
		}
		if batch, _, open := q.take(); len(batch) != 1 || open {
			t.Fatalf("took %d frames after close, open: %v", len(batch), open)
		}
	}
}
