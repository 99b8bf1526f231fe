package coherence

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// A bucket comes out of doubt with its new version, never with the one before, also for a reader on another
// thread, which takes no lock (R2, R4).
func TestAReaderNeverSeesTheOldVersionOutOfDoubt(t *testing.T) {
	for name, all := range map[string]bool{"buckets": false, "all": true} {
		t.Run(name, func(t *testing.T) { readWhileEventsSettle(t, all) })
	}
}

func readWhileEventsSettle(t *testing.T, all bool) {
	const buckets = 64
	rounds := 8000
	if raced {
		rounds = 500 // each takes longer, and is wrong more often
	}
	b := newJoiner(t, buckets)
	b.view(Joining)
	b.do(func() { b.m.Elected(b.now, true, nil, nil) })
	b.do(func() { b.m.OpenTransactions(b.now, "", nil, nil) })
	b.do(func() { b.m.Entered(b.now, true, nil) })
	b.view(In)
	every := make([]uint32, buckets)
	for i := range every {
		every[i] = uint32(i)
	}
	// In each round the reader waits for the doubt and then for its end, and the writer for the reader.
	var inDoubt, settled, wrong atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		until := func(wanted bool) (version uint64) {
			for n := 1; ; n++ {
				if version, ok := b.m.table.Version(buckets / 2); ok == wanted {
					return version
				}
				if n%1000 == 0 {
					runtime.Gosched() // the writer may have no other processor
				}
			}
		}
		for round := range int64(rounds) {
			before := until(true)
			settled.Store(round + 1)
			until(false)
			inDoubt.Store(round + 1)
			if until(true) == before {
				wrong.Add(1)
			}
		}
	}()
	for round := range int64(rounds) {
		for settled.Load() <= round {
			runtime.Gosched()
		}
		var id EventID
		b.do(func() { id = b.mustAnnounce("db", all, every) })
		for inDoubt.Load() <= round {
			runtime.Gosched()
		}
		b.do(func() { b.m.Settle(b.now, id) })
		b.out = b.out[:0]
	}
	<-ended
	if n := wrong.Load(); n > 0 {
		t.Errorf("in %d of %d rounds", n, rounds)
	}
}
