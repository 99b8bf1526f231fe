package coherence

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// When a process serves, what is in doubt, and what may be pushed (R2, R4, R8).

func TestNothingIsServedAfterTheLeaseOrWhenOut(t *testing.T) {
	b := newBench(t)
	b.reachDatabase()
	b.do(func() { b.m.ViewTaken(b.now, b.now, nil, errors.New("the database does not answer")) })
	b.wantDeadlines("after a view that failed", b.now.Add(3*time.Second))
	b.view(Out)
	b.wantDeadlines("though it is out", 0)
}

func TestAnAnnouncedBucketIsInDoubtUntilSettledAndThenBumped(t *testing.T) {
	b := newBench(t)
	before, _ := b.version(1)
	id := b.announce(1)
	if _, ok := b.version(1); ok {
		t.Error("not in doubt after the announcement")
	}
	if _, ok := b.version(2); !ok {
		t.Error("another bucket is in doubt")
	}
	b.do(func() { b.m.Settle(b.now, id) })
	after, ok := b.version(1)
	if !ok || after == before {
		t.Errorf("version %d after the settlement, %d before; out of doubt: %v", after, before, ok)
	}
	b.do(func() { b.m.Settle(b.now, id) })
	if again, _ := b.version(1); again != after {
		t.Error("settled twice, bumped twice")
	}
}

func TestAnEventOverAllPutsEverythingInDoubtAndBumpsIt(t *testing.T) {
	b := newBench(t)
	before, _ := b.version(3)
	var id EventID
	b.do(func() { id = b.mustAnnounce("db", true, nil) })
	if _, ok := b.version(3); ok {
		t.Error("not in doubt")
	}
	b.do(func() { b.m.Settle(b.now, id) })
	if after, ok := b.version(3); !ok || after == before {
		t.Error("not bumped")
	}
}

func TestOnlyAnUntouchedBucketMayBePushed(t *testing.T) {
	other := func(n uint64, settled bool, buckets ...uint32) Entry {
		return Entry{n, Event{ID: EventID{anna, n}, Nonce: 2, Database: "db", Buckets: buckets}, settled}
	}
	for name, test := range map[string]struct {
		before, meanwhile []Entry
		want              []uint32
	}{
		"alone":                      {want: []uint32{1, 2}},
		"announced meanwhile":        {meanwhile: []Entry{other(1, false, 2)}, want: []uint32{1}},
		"settled meanwhile":          {meanwhile: []Entry{other(1, true, 2)}, want: []uint32{1}},
		"open before":                {before: []Entry{other(1, false, 2)}, want: []uint32{1}},
		"open before, then settled":  {before: []Entry{other(1, false, 2)}, meanwhile: []Entry{{2, other(1, true, 2).Event, true}}, want: []uint32{1}},
		"settled before":             {before: []Entry{other(1, true, 2)}, want: []uint32{1, 2}},
		"everything settled between": {meanwhile: []Entry{{1, Event{ID: EventID{anna, 1}, Nonce: 2, Database: "db", All: true}, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.view(In, b.join(anna))
			b.hear(anna, 0, test.before...)
			id := b.announce(1, 2)
			b.hear(anna, uint64(len(test.before)), test.meanwhile...)
			var got []uint32
			b.do(func() { got = b.m.Settle(b.now, id) })
			if !slices.Equal(got, test.want) {
				t.Errorf("pushable %v, want %v", got, test.want)
			}
		})
	}
}

func TestAnEventOverTooManyBucketsIsOverAll(t *testing.T) {
	b := newBench(t)
	buckets := make([]uint32, maxBuckets+1)
	for i := range buckets {
		buckets[i] = uint32(i)
	}
	id := b.announce(buckets...)
	if e := b.m.events.open[id].event; !e.All || len(e.Buckets) != 0 {
		t.Errorf("all: %v, with %d buckets", e.All, len(e.Buckets))
	}
	if _, ok := b.version(7); ok {
		t.Error("not everything is in doubt")
	}
}

func TestEntriesAreTakenOnceAndNotAfterAGap(t *testing.T) {
	b := newBench(t)
	b.view(In, b.join(anna))
	e := Event{ID: EventID{anna, 1}, Nonce: 2, Database: "db", Buckets: []uint32{1}}
	b.hear(anna, 0, Entry{5, e, false}, Entry{6, e, true})
	once, _ := b.version(1)
	b.hear(anna, 0, Entry{5, e, false}, Entry{6, e, true})
	if again, ok := b.version(1); again != once || !ok {
		t.Error("a repeated message was taken again")
	}
	b.took(Send)
	b.hear(anna, 9, Entry{10, Event{ID: EventID{anna, 2}, Nonce: 2, Database: "db", Buckets: []uint32{1}}, false})
	if _, ok := b.version(1); !ok || len(b.took(Send)) != 0 {
		t.Error("an entry after a gap was taken or acknowledged")
	}
}
