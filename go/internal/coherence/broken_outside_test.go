package coherence

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"
)

// The code that switches off the rules of writes from outside.

// outsideWrites reports to a machine the notes that a look has shown.
func (s *sim) outsideWrites(p *process, database int, asked Time, writes []*OutsideWrite) {
	m := p.m
	switch s.off {
	case offNoted:
		s.after(s.between(0, simLease/4), p, func() { m.OutsideWrites(database, asked, writes) })
	case offTouched:
		contended, seen := make(map[uint32]bool), m.events.doubt.allTouched
		for b, d := range m.events.doubt.buckets {
			contended[b] = d.contended
		}
		m.OutsideWrites(database, asked, writes)
		for b, d := range m.events.doubt.buckets {
			d.contended = contended[b]
		}
		m.events.doubt.allTouched = seen
	case offNonce:
		other := make([]*OutsideWrite, len(writes))
		for i, w := range writes {
			another := *w
			another.Nonce = m.cfg.nonce()
			other[i] = &another
		}
		m.OutsideWrites(database, asked, other)
	default:
		m.OutsideWrites(database, asked, writes)
	}
}

// copyHolds returns a copy that seems to hold what the process has listed, or has applied before, or nothing.
func (s *sim) copyHolds(p *process, message *Message) *Message {
	state := *message.State
	state.Applied = slices.Clone(state.Applied)
	if s.off == offHeld {
		state.Applied = append(state.Applied, p.m.outside.packApplied()...)
	}
	if s.off == offHolds {
		state.Applied = nil
	}
	for _, list := range p.m.outside.lists {
		for _, w := range list.writes {
			if s.off == offListed {
				state.Applied = append(state.Applied, w.ID)
			}
		}
	}
	return &Message{Kind: Copy, Attempt: message.Attempt, State: &state}
}

// breakNotes switches a rule off after a view.
func (s *sim) breakNotes(p *process, rows []Row) {
	m := p.m
	switch s.off {
	case offEverybody:
		for database, list := range m.outside.lists {
			var ids []OutsideID
			for _, w := range list.writes {
				ids = append(ids, w.ID)
			}
			m.out.act(Action{Kind: ForgetOutside, Number: database, Outside: ids})
		}
	case offJoiner:
		if m.view.listed && (m.join.phase == awaitingAcks || m.join.phase == copying) {
			var ids []OutsideID
			for _, list := range m.outside.lists {
				for _, w := range list.writes {
					ids = append(ids, w.ID)
				}
			}
			m.out.act(Action{Kind: AcknowledgeOutside, Outside: ids})
		}
	case offBehind:
		before := make(map[*member]Time)
		for _, q := range m.members.order {
			before[q], q.outSince = q.outSince, math.MinInt64/2
		}
		if m.join.phase == joined && m.outside.isLeast(rows) {
			for i := range m.outside.lists {
				m.outside.lists[i].isNew = true
			}
			m.outside.deleteApplied(s.clock(p), rows)
		}
		for q, since := range before {
			q.outSince = since
		}
	}
}

func TestSchedulesOfWritesFromOutside(t *testing.T) {
	for _, rule := range rules {
		if rule.off < offNoted {
			continue
		}
		var total tally
		var mu sync.Mutex
		inParallel(max(10, *simRuns/20), func(i int) bool {
			seed := *simSeed + uint64(i)
			s := newSim(seed, nothing, rule.bias)
			err := s.schedule()
			mu.Lock()
			defer mu.Unlock()
			total.add(&s.tally)
			if err != nil {
				t.Errorf("%s, seed %d: %v", rule.name, seed, err)
			}
			return err == nil
		})
		if total.Outside == 0 || total.Forgotten == 0 || total.Hits == 0 {
			t.Errorf("%s: the schedules show nothing: %v", rule.name, &total)
		}
	}
}

// Without faults all processes that have applied the same notes have the same versions, so none joins anew
// because of them.
func TestNotesKeepVersionsEqual(t *testing.T) {
	differed := func(off rule) (n int) {
		var mu sync.Mutex
		inParallel(100, func(i int) bool {
			s := newSim(uint64(i), off, quiet)
			err := s.schedule()
			mu.Lock()
			defer mu.Unlock()
			if n += s.Differed; err != nil {
				t.Error(err)
			}
			return true
		})
		return n
	}
	if n := differed(nothing); n > 0 {
		t.Errorf("%d times the versions of two processes differed", n)
	}
	for off, says := range map[rule]string{
		offNonce: "the nonce of a note is the same at every process",
		offHolds: "a copy says which notes it holds",
	} {
		if differed(off) == 0 {
			t.Errorf("%s: switched off, and no versions ever differed", says)
		}
	}
}

// quiet has no faults.
func quiet(o *options) {
	o.only(nil)
	o.strike, o.naps, o.waits, o.fails, o.refused, o.tail = 0, 0, 0, 0, false, 50*time.Millisecond
	o.writes, o.outsideEvery, o.mostNotes = 10, 700*time.Millisecond, 1000
}

// namingNothing returns a message of notes that name nothing.
func namingNothing(message *Message) *Message {
	bare := &Message{Kind: Outside}
	for _, e := range message.Entries {
		bare.Entries = append(bare.Entries, Entry{Event: Event{ID: e.Event.ID, Nonce: e.Event.Nonce}})
	}
	return bare
}

// Schedules in which much is written from outside.

func outsideOften(o *options) {
	o.outsideEvery, o.partial, o.every, o.writes = 100*time.Millisecond, 0, 0, min(o.writes, 30)
}

// outsideLate has processes that get the answer to COMMIT late.
func outsideLate(o *options) {
	outsideOften(o)
	o.waits, o.writes = 200, 100
}

// outsideCut has members that cannot reach the second server for long, and others that copy from them.
func outsideCut(o *options) {
	o.only(map[fault]int{cutDatabase: 6, putOut: 4})
	o.joinsFast()
	outsideApart(o)
	o.lasting, o.length, o.writes, o.mostNotes = 6*time.Second, 10*time.Second, 0, 2
	o.outsideEvery, o.faultEvery = 2*time.Second, 2*time.Second
}

// outsideJoins has copies that are on their way for long.
func outsideJoins(o *options) {
	o.only(map[fault]int{cutOneWay: 6, putOut: 3, kill: 2})
	o.joinsFast()
	outsideOften(o)
	o.size, o.writes, o.lasting, o.length = 3, 0, 1200*time.Millisecond, 12*time.Second
	o.mostNotes, o.outsideEvery = 1000, 300*time.Millisecond
}

// outsideSlow has such copies where the joiner has served before, and the member that it copies from cannot
// reach the second server for a while.
func outsideSlow(o *options) {
	o.only(map[fault]int{cutDatabase: 4, putOut: 8})
	o.joinsFast()
	outsideApart(o)
	o.size, o.writes, o.lasting, o.length, o.copies = 3, 0, 4*time.Second, 12*time.Second, 1700*time.Millisecond
	o.mostNotes, o.outsideEvery, o.faultEvery, o.eager = 1000, 500*time.Millisecond, 2500*time.Millisecond, true
}

// outsideLooks has processes that were stopped put out while they look at the second server.
func outsideLooks(o *options) {
	o.only(map[fault]int{stop: 4})
	o.joinsFast()
	outsideApart(o)
	o.outs, o.size, o.writes, o.mostNotes = 100, 3, 0, 1000
	o.lasting, o.length, o.faultEvery, o.eager = 3*time.Second, 12*time.Second, 3*time.Second, true
}

// outsideApart has the second database on a server of its own.
func outsideApart(o *options) {
	outsideOften(o)
	o.databases, o.apart, o.keys, o.buckets = 2, true, 6, 6
}

// outsidePartly has processes that serve the second database later than others.
func outsidePartly(o *options) {
	outsideOften(o)
	o.databases, o.apart, o.partial, o.mostNotes = 2, false, 500, 1000
	o.outsideEvery, o.writes, o.length = 700*time.Millisecond, 0, 12*time.Second
}
