package node

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
	"time"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

func TestTheTimeOnTheWayProlongsNoLife(t *testing.T) {
	const hour = int64(time.Hour)
	for what, c := range map[string]struct {
		ends     int64          // by the owner's clock
		answered coherence.Time // by the owner's clock
		asked    coherence.Time // by the reader's clock, which shows something else
		want     int64          // by the reader's clock; 0: there is no value
	}{
		"a part of its life is left": {hour, 10, 1 << 50, 1<<50 + hour - 10},
		"nearly nothing is left":     {hour, coherence.Time(hour) - 1, 7, 8},
		"it ends at this instant":    {hour, coherence.Time(hour), 7, 0},
		"it has ended":               {hour, coherence.Time(hour) + 1, 7, 0},
		"it never ends":              {cache.Never, math.MaxInt64 - 1, 7, cache.Never},
		"it would outlive the clock": {cache.Never - 1, 5, 7, 7 + int64(longestLife)},
	} {
		sent := []cache.Result{{Value: []byte("v"), Source: cache.Peer, Expires: c.ends}}
		got, err := unpackAnswer(packAnswer(sent, 1000, c.answered), len(sent), c.asked)
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %v, %v", what, got, err)
		}
		if r := got[0]; r.Expires != c.want || (r.Err == nil) != (c.want != 0) || (len(r.Value) == 1) != (c.want != 0) {
			t.Errorf("%s: it ends at %d, %q, %v; want %d", what, r.Expires, r.Value, r.Err, c.want)
		}
	}
}

func TestAnswersThatAreCutOrMakeNoSenseAreRefused(t *testing.T) {
	good := packAnswer([]cache.Result{{Value: []byte("v"), Source: cache.Peer, Expires: 9}, {Err: bridge.ErrNoValue}}, 1000, 0)
	for n := range good {
		if _, err := unpackAnswer(good[:n], 2, 0); (err == nil) != (n == 1+8+4+1) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if got, err := unpackAnswer(good, 1, 0); err == nil {
		t.Errorf("more than was asked for was taken as %v", got)
	}
	answer := func(source cache.Source, life uint64, value string) []byte {
		return bridge.AppendElement(binary.LittleEndian.AppendUint64([]byte{byte(source)}, life), []byte(value))
	}
	for what, b := range map[string][]byte{
		"a value without a life":       answer(cache.Peer, 0, "v"),
		"a life below 0":               answer(cache.Peer, 1<<63, "v"),
		"a life of nearly for ever":    answer(cache.Peer, forever-1, "v"),
		"a life of what is not there":  answer(cache.Nowhere, 1, ""),
		"an endless one":               answer(cache.Nowhere, forever, ""),
		"a value of what is not there": answer(cache.Nowhere, 0, "v"),
		"a source that there is not":   answer(cache.Deduplicated+1, 1, "v"),
		"the reader's own store":       answer(cache.Own, 1, "v"),
		"the reader's copies":          answer(cache.Hot, 1, "v"),
	} {
		if got, err := unpackAnswer(b, 2, 0); err == nil {
			t.Errorf("%s was taken as %v", what, got)
		}
	}
}

func TestPackAnswerKeepsToItsBudget(t *testing.T) {
	value := cache.Result{Value: make([]byte, 87), Source: cache.Peer, Expires: cache.Never} // 100 bytes with its header
	for budget, want := range map[int]int{0: 1, 99: 1, 100: 1, 199: 1, 200: 2, 1000: 3} {
		got, err := unpackAnswer(packAnswer([]cache.Result{value, value, value}, budget, 0), 3, 0)
		if err != nil || len(got) != want {
			t.Errorf("%d results in %d bytes, want %d; %v", len(got), budget, want, err)
		}
	}
}

func FuzzUnpackAnswer(f *testing.F) {
	f.Add(packAnswer([]cache.Result{{Value: []byte("v"), Source: cache.Peer, Expires: 5}, {}}, 1000, 0), int64(0))
	f.Add(packAnswer([]cache.Result{{Source: cache.Own, Expires: cache.Never}}, 1000, 0), int64(1<<50))
	f.Add(bytes.Repeat([]byte{1}, 13), int64(1<<50))
	f.Fuzz(func(t *testing.T, b []byte, at int64) {
		asked := coherence.Time(at & (1<<61 - 1)) // no machine runs for longer
		results, err := unpackAnswer(b, maxKeys, asked)
		long := false
		for _, r := range results {
			if r.Err != nil {
				continue
			}
			if r.Source == cache.Nowhere || r.Expires <= int64(asked) {
				t.Errorf("%v has the result %v", b, r)
			}
			if r.Expires != cache.Never && r.Expires > int64(asked.Add(longestLife)) {
				t.Errorf("%v lives for %v", b, time.Duration(r.Expires-int64(asked)))
			}
			long = long || r.Expires == int64(asked.Add(longestLife))
		}
		if err == nil && !long && !bytes.Equal(packAnswer(results, len(b), asked), b) {
			t.Errorf("%v was read as %v", b, results)
		}
	})
}
