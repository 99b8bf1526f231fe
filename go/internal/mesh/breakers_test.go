package mesh

import (
	"context"
	"testing"
	"time"

	"guillotina_groupcache/internal/transport"
)

func TestBreakers(t *testing.T) {
	var b Breakers
	pauseOf := func() time.Duration { return b.pause["a:1"].next }
	b.Record("a:1", transport.ErrOverload)
	if b.Open("a:1") {
		t.Error("an answer, even a refusal, begins a pause")
	}
	for range 100 { // requests that waited together
		b.Record("a:1", context.DeadlineExceeded)
	}
	if !b.Open("a:1") || b.Open("b:1") || pauseOf() != firstPause {
		t.Errorf("the pause is %v, want %v", pauseOf(), firstPause)
	}
	for want := firstPause; want < longestPause; {
		want = min(2*want, longestPause)
		p := b.pause["a:1"]
		p.until = time.Now()
		b.pause["a:1"] = p
		if b.Record("a:1", context.DeadlineExceeded); pauseOf() != want {
			t.Errorf("the pause is %v, want %v", pauseOf(), want)
		}
	}
	b.Record("b:1", context.DeadlineExceeded)
	b.keep([]string{"b:1"})
	if _, kept := b.pause["a:1"]; kept || !b.Open("b:1") {
		t.Error("an address without owner is kept, or one with an owner is forgotten")
	}
	b.Record("b:1", nil)
	if b.Open("b:1") || len(b.pause) != 0 {
		t.Error("an answer does not end the pause")
	}
}
