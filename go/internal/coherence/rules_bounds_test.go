package coherence

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// Everything that a peer can make grow has a bound (R17).

// announces announces events of a writer until one is refused, and returns how many were taken.
func (b *bench) announces(peer Incarnation, most int, buckets ...uint32) int {
	for n := range most {
		message := &Message{Kind: Events, Sequence: b.m.writers.heard[peer],
			Entries: []Entry{{uint64(n) + 1, event(peer, uint64(n)+1, buckets...), false}}}
		if err := b.m.Receive(b.now, peer, message); err != nil {
			if !errors.Is(err, ErrViolation) {
				b.t.Error(err)
			}
			return n
		}
	}
	b.m.Actions()
	return most
}

func TestOpenEventsOfAWriterAreBounded(t *testing.T) {
	b := withBoth(t)
	if n := b.announces(anna, 2*MaxOpenEvents, 1); n != MaxOpenEvents {
		t.Errorf("%d of one member are taken", n)
	}
	last := b.m.writers.heard[anna]
	b.hear(anna, last, Entry{last + 1, event(anna, 1, 1), true}, Entry{last + 2, event(anna, last+1, 1), false})
	if len(b.m.events.open) != MaxOpenEvents {
		t.Error("a member that has settled an event may not announce another")
	}
	if n := b.announces(berta, 10, 1); n != 10 {
		t.Error("another member pays for it")
	}
}

func TestOpenEventsOfWritersWithoutARowAreBounded(t *testing.T) {
	b := withBoth(t)
	total := 0
	for i := range Incarnation(100) {
		n := b.announces(1000+i, 1000, 1)
		if total += n; n > maxRowlessEvents || i < 5 && n != maxRowlessEvents {
			t.Fatalf("%d of one writer", n)
		}
	}
	if total != maxRowlessTotal {
		t.Errorf("%d of all of them", total)
	}
	if b.announces(anna, 100, 1) != 100 {
		t.Error("a member pays for them")
	}
}

func TestBucketsOfOpenEventsAreBounded(t *testing.T) {
	const buckets = 1 << 17
	b := newJoiner(t, buckets)
	b.view(Joining)
	b.do(func() { b.m.Elected(b.now, true, nil, nil) })
	b.do(func() { b.m.OpenTransactions(b.now, "", nil, nil) })
	b.do(func() { b.m.Entered(b.now, true, nil) })
	b.view(In, b.join(anna))
	wide := make([]uint32, maxBuckets)
	for i := range wide {
		wide[i] = uint32(i)
	}
	if n := b.announces(anna, 100, wide...); n != maxOpenBuckets/maxBuckets {
		t.Errorf("%d wide events of one member are taken", n)
	}
	if n := b.announces(1000, 100, wide...); n != 1 {
		t.Errorf("%d wide events of a writer without a row are taken", n)
	}
	var id EventID
	for range maxOpenBuckets/maxBuckets + 1 {
		b.do(func() { id = b.mustAnnounce("db", false, wide) })
	}
	if !b.m.events.open[id].event.All || b.m.events.usage.of(self).buckets != maxOpenBuckets {
		t.Error("the events of this process name more buckets than others would take")
	}
}

func TestOwnOpenEventsAreBounded(t *testing.T) {
	b := withBoth(t)
	var first EventID
	for range MaxOpenEvents {
		if id := b.announce(1); first == (EventID{}) {
			first = id
		}
	}
	b.out = nil
	if _, err := b.m.Announce(b.now, "db", false, []uint32{2}); !errors.Is(err, ErrTooManyOpen) || !strings.Contains(err.Error(), "4096") {
		t.Errorf("one more: %v", err)
	}
	b.wantDoubt("the event that was refused", 2, false)
	b.do(func() { b.m.Settle(b.now, first) })
	b.announce(2)
}

func TestTheIDOfADatabaseIsBounded(t *testing.T) {
	b := withBoth(t)
	long := strings.Repeat("d", MaxDatabaseID+1)
	if _, err := b.m.Announce(b.now, long, false, []uint32{3}); err == nil || len(b.m.events.open) != 0 {
		t.Error("the others could not decode the event of a database with such an id")
	}
	if _, err := b.m.Announce(b.now, long[1:], false, []uint32{3}); err != nil {
		t.Error(err)
	}
}

func TestSettledEventsAreKeptInBoundedMemory(t *testing.T) {
	b := withBoth(t)
	b.hear(anna, 0, Entry{1, event(anna, 3, 1), false})
	before, _ := b.version(1)
	for n := uint64(2); n < 3*maxAbove; n++ {
		e := event(anna, 2*n, 2) // every second one never arrives
		b.hear(anna, b.m.writers.heard[anna], Entry{n, e, true})
		b.out = nil
	}
	by := b.m.events.settled[anna]
	if len(by.above) > maxAbove {
		t.Errorf("%d are kept one by one", len(by.above))
	}
	b.wantDoubt("it is still open", 1, true)
	b.hear(anna, b.m.writers.heard[anna], Entry{3 * maxAbove, event(anna, 3, 1), true})
	b.wantDoubt("settled", 1, false)
	if after, _ := b.version(1); after&^1 != before&^1+6 {
		t.Errorf("version %x, %x before: it counts as settled before it was", after, before)
	}
	// Of the events that were skipped it is not known that they are settled: announced, they are in doubt.
	b.hear(anna, b.m.writers.heard[anna], Entry{4 * maxAbove, event(anna, 5, 3), false})
	b.wantDoubt("skipped, and announced late", 3, true)
	copied := newJoiner(t, 8)
	copied.do(func() { copied.m.enter(copied.now, b.m.snapshot()) })
	copied.wantDoubt("at one that has copied", 3, true)
	copied.wantDoubt("nor there", 1, false)
}

func TestWritersWithoutARowAreForgotten(t *testing.T) {
	b := withBoth(t)
	for i := range Incarnation(3 * maxWriters) {
		b.hear(1000+i, 0, Entry{1, event(1000+i, 1, 1), true})
		b.now++
		b.out = nil
	}
	if n := len(b.m.writers.heard); n > maxWriters+2 || len(b.m.events.settled) > maxWriters+2 {
		t.Errorf("the logs of %d writers are known, and the settlements of %d", n, len(b.m.events.settled))
	}
	unknown := event(999, 1, 2)
	unknown.Database = "served by nobody"
	b.hear(999, 0, Entry{1, unknown, false})
	rows := []Row{b.join(anna), b.join(berta)}
	for end := b.now.Add(forgetAfter + time.Minute); b.now < end; b.now = b.now.Add(time.Second) {
		b.view(In, rows...)
		b.out = nil
	}
	if n := len(b.m.writers.heard) + len(b.m.events.settled) + len(b.m.writers.rowless) + len(b.m.events.open); n > 0 {
		t.Errorf("%d things are kept for ever", n)
	}
}

func TestTheBacklogOfAJoinerIsBounded(t *testing.T) {
	b := newJoiner(t, 8)
	for n := uint64(1); n <= maxBacklogEvents+10; n++ {
		b.hear(anna, b.m.writers.heard[anna], Entry{n, event(anna, n, 1), false}, Entry{n + 1<<20, event(anna, n, 1), true})
		b.m.writers.heard[anna] = 0
		b.out = nil
	}
	b.hear(anna, 0, Entry{1 << 30, event(anna, 1<<30, 2), false})
	heard := &b.m.events.backlog
	if len(heard.settled) > maxBacklogEvents || len(heard.open) != 1 {
		t.Errorf("%d that are settled and %d that are open", len(heard.settled), len(heard.open))
	}
	copied := &Snapshot{Epoch: 1 << 40, Open: []Event{event(anna, 7, 3)}}
	b.do(func() { b.m.enter(b.now, copied) })
	b.wantDoubt("announced", 2, true)
	b.wantDoubt("open in the copy, as its settlement was forgotten", 3, true)
	if epoch := b.m.table.settledWord(wordEpoch); epoch == 1<<40 {
		t.Error("versioned keys of before may be used again")
	}
	if n := b.announces(berta, 2*MaxOpenEvents, 1); n != maxRowlessEvents {
		t.Errorf("a joiner takes %d events of a writer without a row", n)
	}
}

func TestRelayedNotesAreBounded(t *testing.T) {
	b := withNotes(t)
	var ids []OutsideID
	wide := make([]uint32, maxBuckets)
	for n := range OutsideID(2 * maxBacklogBuckets / maxBuckets) {
		ids = append(ids, n+1)
	}
	b.shows(nil, mine(In), theirs(In, ids...))
	b.do(func() { b.m.join.startOver(b.now) })
	for _, id := range ids {
		note := Entry{Event: Event{ID: EventID{Sequence: uint64(id)}, Nonce: 2, Buckets: wide}}
		b.receive(later, &Message{Kind: Outside, Entries: []Entry{note}})
	}
	named := 0
	for _, heard := range b.m.outside.relayed {
		if named += len(heard.write.Buckets); len(heard.write.Buckets) == 0 && !heard.write.All {
			t.Error("a note over nothing")
		}
	}
	if named > maxBacklogBuckets || named != b.m.outside.relayedBuckets {
		t.Errorf("%d buckets, counted as %d", named, b.m.outside.relayedBuckets)
	}
}

// Otherwise a process that returns, after it was without a row for long, would put out all others: they do not
// acknowledge what comes after a gap.
func TestAMemberThatHasForgottenAWriterHearsItAgain(t *testing.T) {
	b := withBoth(t)
	b.hear(77, 0, Entry{9, event(77, 1, 1), false}, Entry{10, event(77, 1, 1), true})
	b.now = b.now.Add(forgetAfter)
	b.view(In, b.join(anna), b.join(berta))
	if _, known := b.m.writers.heard[77]; known {
		t.Fatal("not forgotten")
	}

	writer := withBoth(t)
	id := writer.announce(1)
	writer.do(func() { writer.m.Settle(writer.now, id) })
	writer.acknowledge(anna)
	writer.do(func() { writer.m.Disconnected(anna) })
	writer.do(func() { writer.m.Connected(writer.now, anna) })
	writer.took(0)
	writer.announce(2)
	for _, sent := range writer.took(Send) {
		if sent.To == anna && sent.Message.Kind == Events && sent.Message.Sequence != 0 {
			t.Errorf("sends what comes after the entry %d, of which the member may know nothing", sent.Message.Sequence)
		}
	}
}
