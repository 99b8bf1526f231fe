package coherence

import (
	"math"
	"slices"
	"time"
)

// What switches the rules of writes from outside off.

// outsideWrites tells a machine of the notes that a look has shown.
func (s *sim) outsideWrites(p *process, database int, asked Time, writes []*OutsideWrite) {
	m := p.m
	switch s.off {
	case offNoted:
		s.after(s.between(0, simLease/4), p, func() { m.OutsideWrites(database, asked, writes) })
	case offTouched:
		contended, seen := make(map[uint32]bool), m.allSeen
		for b, d := range m.doubt {
			contended[b] = d.contended
		}
		m.OutsideWrites(database, asked, writes)
		for b, d := range m.doubt {
			d.contended = contended[b]
		}
		m.allSeen = seen
	default:
		m.OutsideWrites(database, asked, writes)
	}
}

// copyHolds is a copy that seems to hold what the process has listed, or has applied before.
func (s *sim) copyHolds(p *process, message *Message) *Message {
	state := *message.State
	state.Applied = slices.Clone(state.Applied)
	if s.off == offHeld {
		state.Applied = append(state.Applied, p.m.packApplied()...)
	}
	for _, list := range p.m.lists {
		for _, w := range list.writes {
			if s.off == offListed {
				state.Applied = append(state.Applied, w.ID)
			}
		}
	}
	return &Message{Kind: Copy, Attempt: message.Attempt, State: &state}
}

// copyLeaves has a process reach the second server as soon as it has sent a copy: so it reads notes
// that the copy lacks while that is on its way.
func (s *sim) copyLeaves(p *process) {
	if s.off == offReset {
		s.blocked[p.place.number][s.second.place], s.blocked[s.second.place][p.place.number] = 0, 0
	}
}

// breakNotes is for the view that a machine was just given.
func (s *sim) breakNotes(p *process, rows []Row) {
	m := p.m
	switch s.off {
	case offEverybody:
		for database, list := range m.lists {
			var ids []OutsideID
			for _, w := range list.writes {
				ids = append(ids, w.ID)
			}
			m.act(Action{Kind: ForgetOutside, Number: database, Outside: ids})
		}
	case offJoiner:
		if m.listed && (m.phase == waiting || m.phase == copying) {
			var ids []OutsideID
			for _, list := range m.lists {
				for _, w := range list.writes {
					ids = append(ids, w.ID)
				}
			}
			m.act(Action{Kind: AcknowledgeOutside, Outside: ids})
		}
	case offBehind:
		before := make(map[*member]Time)
		for _, q := range m.order {
			before[q], q.outSince = q.outSince, math.MinInt64/2
		}
		if m.phase == standing && m.isLeast(rows) {
			for i := range m.lists {
				m.lists[i].isNew = true
			}
			m.forgetNotes(s.clock(p), rows)
		}
		for q, since := range before {
			q.outSince = since
		}
	}
}

// Schedules in which much is written from outside.

func outsideOften(o *options) {
	o.outsideEvery, o.every, o.writes = 100*time.Millisecond, 0, min(o.writes, 30)
}

// outsideLate has processes that get the answer to COMMIT late.
func outsideLate(o *options) {
	outsideOften(o)
	o.waits, o.writes = 200, 100
}

// outsideCut has members that do not reach the second server for long, and others that copy from them.
func outsideCut(o *options) {
	o.only(map[fault]int{cutDatabase: 6, putOut: 4})
	o.joinsFast()
	outsideApart(o)
	o.lasting, o.length, o.writes, o.mostNotes = 6*time.Second, 10*time.Second, 10, 3
}

// outsideJoins has copies that are on their way for long.
func outsideJoins(o *options) {
	o.only(map[fault]int{cutOneWay: 6, putOut: 3, kill: 2})
	o.joinsFast()
	outsideOften(o)
	o.size, o.writes, o.lasting, o.length = 3, 0, 1200*time.Millisecond, 12*time.Second
	o.mostNotes, o.outsideEvery = 1000, 300*time.Millisecond
}

// outsideSlow is that where who copies has served before, and whom it copies from does not reach the
// second server for a while.
func outsideSlow(o *options) {
	o.only(map[fault]int{cutDatabase: 4, putOut: 8})
	o.joinsFast()
	outsideApart(o)
	o.size, o.writes, o.lasting, o.length, o.copies = 3, 0, 4*time.Second, 12*time.Second, 1700*time.Millisecond
	o.mostNotes, o.outsideEvery, o.faultEvery = 1000, 500*time.Millisecond, 900*time.Millisecond
}

// outsideLooks has somebody put out while it looks at the second server.
func outsideLooks(o *options) {
	o.only(map[fault]int{cutDatabase: 4})
	o.joinsFast()
	outsideApart(o)
	o.outs, o.size, o.writes, o.faultEvery, o.mostNotes = 100, 3, 0, 2*time.Second, 1000
}

// outsideApart has the second database on a server of its own.
func outsideApart(o *options) {
	outsideOften(o)
	o.databases, o.apart, o.keys, o.buckets = 2, true, 6, 6
}
