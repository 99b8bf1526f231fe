package node

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/mesh"
	"guillotina_groupcache/internal/transport"
)

var (
	insiderFor  = flag.Duration("insider.for", time.Second, "how long TestARandomInsider attacks")
	insiderSeed = flag.Uint64("insider.seed", 0, "of TestARandomInsider; 0: a random one")
)

// Whatever a process with the secret sends, in whatever order: no read is wrong meanwhile, and when it has
// gone all processes serve, within bounds.
func TestARandomInsider(t *testing.T) {
	seed := *insiderSeed
	if seed == 0 {
		seed = random()
	}
	defer func() {
		if t.Failed() {
			t.Logf("again: -insider.seed=%d", seed)
		}
	}()
	a, b, c := three(t, newDatabase())
	all := []*process{a, b, c}
	before := heapInUse()
	stop := honest(t, all)
	r := rand.New(rand.NewPCG(seed, 1))
	insiders := []*randomInsider{newRandomInsider(t, r, all), newRandomInsider(t, r, all)}
	sent := 0
	for end := time.Now().Add(*insiderFor); time.Now().Before(end); sent++ {
		insiders[r.IntN(len(insiders))].act()
	}
	for _, in := range insiders {
		in.Close()
	}
	stop()
	if sent < 5 {
		t.Errorf("it has sent %d bursts", sent)
	}
	wantUnharmed(t, all...)
	eventually(t, "little is kept", func() bool { return heapInUse()-before < 64<<20 })
	for _, p := range all {
		if n := p.mesh.Transport.Stats().Faults[transport.ReasonPanic]; n > 0 {
			t.Errorf("%d panics", n)
		}
	}
}

// honest has each process write a counter of its own, and read those of all, until stop is called.
func honest(t *testing.T, all []*process) (stop func()) {
	var wg sync.WaitGroup
	var stopped atomic.Bool
	number := func(text string) int { n, _ := strconv.Atoi(text); return n }
	for i, p := range all {
		wg.Go(func() {
			for n := 1; !stopped.Load(); n++ {
				p.write(counter(i), strconv.Itoa(n), n%2 == 0)
			}
		})
		wg.Go(func() {
			for n := 0; !stopped.Load(); n++ {
				key := counter(n % len(all))
				from := number(p.db.get(key))
				got := number(p.get(key))
				if to := number(p.db.get(key)); got < from || got > to {
					t.Errorf("process %d has read %d, the database held %d to %d", i, got, from, to)
					return
				}
			}
		})
	}
	return func() {
		stopped.Store(true)
		wg.Wait()
	}
}

func counter(i int) string { return fmt.Sprint("counter ", i) }

// randomInsider sends anything.
type randomInsider struct {
	*insider
	r   *rand.Rand
	all []*process
}

func newRandomInsider(t *testing.T, r *rand.Rand, all []*process) *randomInsider {
	return &randomInsider{newInsider(t, ""), r, all}
}

// act sends a process a burst of frames, and waits until they are taken, or the session has ended.
func (in *randomInsider) act() {
	p := in.all[in.r.IntN(len(in.all))]
	s := in.to(p)
	for range 1 + in.r.IntN(30) {
		kind, body := in.frame(p)
		if in.r.IntN(8) == 0 && len(body) > 0 {
			body = mutatedBody(in.r, body)
		}
		if s.Send(kind, body) != nil {
			return
		}
	}
	switch in.r.IntN(6) {
	case 0: // it goes, whatever is under way
		s.Close(nil)
	case 1:
		s.CallAsync(time.Millisecond, func([]byte, error) {}, transport.FrameKind(in.r.IntN(6)), in.keys())
	default:
		in.taken(s)
	}
}

func (in *randomInsider) frame(p *process) (transport.FrameKind, []byte) {
	switch in.r.IntN(12) {
	case 0:
		return transport.FrameKind(in.r.IntN(8)), in.keys()
	case 1: // values of peers are trusted, so it pushes only keys that no process reads
		versioned := cache.VersionedKey{Key: fmt.Append(nil, "junk ", in.r.IntN(9)), Version: in.number8()}
		return mesh.FramePut, append(packPut(put{event: in.number8(), life: in.number8(), key: versioned}), "junk"...)
	}
	return mesh.FrameCoherence, in.message(p).Append(nil)
}

func (in *randomInsider) keys() []byte {
	var keys []cache.VersionedKey
	for range in.r.IntN(5) {
		keys = append(keys, cache.VersionedKey{Key: fmt.Append(nil, "junk ", in.r.IntN(9)), Version: in.number8()})
	}
	return packKeys(keys)
}

func (in *randomInsider) message(p *process) *coherence.Message {
	m := &coherence.Message{Kind: coherence.MessageKind(in.r.IntN(int(coherence.Outside)) + 1), Attempt: in.number8() % 8}
	if in.r.IntN(2) == 0 {
		m.Kind = coherence.Events
	}
	switch m.Kind {
	case coherence.Events, coherence.Repair, coherence.Outside:
		for range in.r.IntN(4) {
			m.Entries = append(m.Entries, in.entry(p))
		}
		if m.Sequence = 0; in.r.IntN(4) == 0 {
			m.Sequence = in.number8()
		}
	case coherence.Ack:
		m.Sequence = in.number8()
	case coherence.Copy, coherence.Digest:
		m.Sequence, m.State = in.number8(), in.snapshot(p)
	}
	return m
}

func (in *randomInsider) entry(p *process) coherence.Entry {
	e := in.event(p)
	if in.r.IntN(3) == 0 { // the last one, which is announced
		e.ID.Sequence = max(in.own.Load(), 1)
	}
	return coherence.Entry{Number: in.insider.number.Add(1), Event: e, Settled: in.r.IntN(2) == 0}
}

func (in *randomInsider) event(p *process) coherence.Event {
	e := in.next()
	for b := range uint32(len(in.all)) {
		if in.r.IntN(2) == 0 {
			e.Buckets = append(e.Buckets, bucketOf(p, counter(int(b))))
		}
	}
	if in.r.IntN(16) > 0 { // else it may be malformed
		slices.Sort(e.Buckets)
	}
	e.All = in.r.IntN(8) == 0
	e.Database = []string{"db", "db", "db", "", "elsewhere"}[in.r.IntN(5)]
	switch in.r.IntN(5) {
	case 0:
		e.ID = nextOf(in.all[in.r.IntN(len(in.all))]).ID
		e.ID.Sequence += in.number8() % 3
	case 1:
		e.ID = coherence.EventID{Writer: coherence.Incarnation(in.number8()), Sequence: in.number8()}
	}
	return e
}

func (in *randomInsider) snapshot(p *process) *coherence.Snapshot {
	s := &coherence.Snapshot{Epoch: in.number8() &^ 1, Open: []coherence.Event{in.event(p)}}
	s.Settled = make(map[coherence.Incarnation]coherence.SettledBy)
	for _, other := range in.all {
		if in.r.IntN(2) == 0 {
			s.Settled[other.mesh.Incarnation] = coherence.SettledBy{Through: in.number8()}
		}
	}
	return s
}

// number8 is small, or large, or anything.
func (in *randomInsider) number8() uint64 {
	switch in.r.IntN(3) {
	case 0:
		return uint64(in.r.IntN(8))
	case 1:
		return ^uint64(in.r.IntN(8))
	}
	return in.r.Uint64()
}

func mutatedBody(r *rand.Rand, body []byte) []byte {
	at := r.IntN(len(body))
	switch r.IntN(3) {
	case 0:
		return body[:at]
	case 1:
		body[at] ^= 1 << r.IntN(8)
		return body
	}
	return append(body[:at:at], append([]byte{byte(r.Uint32())}, body[at:]...)...)
}
