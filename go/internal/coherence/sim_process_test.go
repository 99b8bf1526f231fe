package coherence

import (
	"fmt"
	"time"
)

// The processes of a simulated cluster: how they start, tick, fail and end.

func (s *sim) clock(p *process) Time {
	return Time(p.offset) + Time(p.rate*float64(s.now))
}

func (s *sim) start(address string) {
	s.last++
	s.Joins++
	p := &process{
		inc: s.last, address: address, alive: true,
		rate:   1 + (s.r.Float64()*2-1)*drift,
		offset: s.between(0, 1000*time.Second),
		store:  make(map[name]int),
		writes: make(map[EventID]*transaction),
	}
	s.processes[p.inc] = p
	table := NewTable(make([]uint64, TableHeader+simBuckets))
	p.m = New(Config{
		Incarnation: p.inc, Address: address, Lease: simLease,
		AckTimeout: 150 * time.Millisecond, OrphanAfter: 800 * time.Millisecond,
		Random: s.r.Uint64,
	}, table, s.clock(p))
	s.tell("start %d at %s", p.inc, address)
	s.act(p)
	s.after(0, p, func() { s.tick(p) })
	s.after(10*time.Millisecond, p, func() { s.load(p) })
}

func (s *sim) tick(p *process) {
	p.m.Tick(s.clock(p))
	s.act(p)
	s.after(50*time.Millisecond, p, func() { s.tick(p) })
}

func (s *sim) crash(p *process) {
	if !p.alive {
		return
	}
	s.tell("crash %d", p.inc)
	p.alive = false
	for other := Incarnation(1); other <= s.last; other++ {
		s.breakLink(p.inc, other)
	}
	for _, tx := range s.openTransactions() {
		if tx.name[:len(fmt.Sprint(p.inc))+1] == fmt.Sprint(p.inc, ".") && !tx.inFlight {
			s.after(s.delay(), nil, func() { s.end(tx) })
		}
	}
}

// leave is an end in order, though some of its transactions may still be open.
func (s *sim) leave(p *process) {
	s.tell("leave %d", p.inc)
	p.m.Leave(s.clock(p))
	s.act(p)
	s.after(s.between(time.Millisecond, 300*time.Millisecond), nil, func() { s.crash(p) })
}

func (s *sim) fault() {
	if !s.faults {
		return
	}
	live := s.live()
	switch x := s.r.Float64(); {
	case len(live) == 0:
	case x < .35:
		p := live[s.r.IntN(len(live))]
		p.paused = s.now + []time.Duration{50, 300, 1200, 4000}[s.r.IntN(4)]*time.Millisecond
		s.tell("pause %d until %v", p.inc, p.paused)
	case x < .55:
		p := live[s.r.IntN(len(live))]
		s.crash(p)
		address := p.address
		s.after([]time.Duration{50, 1000, 3000}[s.r.IntN(3)]*time.Millisecond, nil, func() { s.start(address) })
	case x < .6:
		p := live[s.r.IntN(len(live))]
		s.leave(p)
		address := p.address
		s.after(500*time.Millisecond, nil, func() { s.start(address) })
	case x < .85 && len(live) > 1:
		i, j := s.r.IntN(len(live)), s.r.IntN(len(live))
		if i != j {
			l := s.link(live[i].inc, live[j].inc)
			l.cut = s.now + []time.Duration{10, 100, 500, 2000, 5000}[s.r.IntN(5)]*time.Millisecond
			s.tell("cut %d %d until %v", live[i].inc, live[j].inc, l.cut)
			s.breakLink(live[i].inc, live[j].inc)
		}
	}
	s.after(s.between(200*time.Millisecond, 2500*time.Millisecond), nil, s.fault)
}
