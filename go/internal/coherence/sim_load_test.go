package coherence

import (
	"fmt"
	"slices"
	"time"
)

// Readers and writers of a simulated cluster, and the check of every read.

func (s *sim) load(p *process) {
	if !s.loads {
		return
	}
	for range 1 + s.r.IntN(2) {
		s.read(p, s.r.IntN(s.keys))
	}
	if s.r.Float64() < s.writeShare {
		s.write(p, s.r.IntN(s.keys), 0)
	}
	s.after(s.between(5*time.Millisecond, 80*time.Millisecond), p, func() { s.load(p) })
}

func (s *sim) valid(key, value int, from, to time.Duration) bool {
	history := s.values[key]
	for i, c := range history {
		if c.value == value {
			return c.at <= to && (i+1 == len(history) || history[i+1].at >= from)
		}
	}
	return false
}

func (s *sim) read(p *process, key int) {
	s.Reads++
	begun, bucket, done := s.now, uint32(key), false
	end := func(value int) {
		if done {
			return
		}
		done = true
		if !s.valid(key, value, begun, s.now) {
			s.violation = fmt.Errorf("%d read key %d as %d, begun %v, now %v: %v",
				p.inc, key, value, begun, s.now, s.values[key])
		}
	}
	bypass := func() {
		if !done {
			s.Bypasses++
			s.fetch(p, key, end)
		}
	}
	deadline := p.m.table.Deadline()
	version, settled := p.m.table.Version(bucket)
	if s.clock(p) >= deadline && s.broken != servesWhenStale || !settled && s.broken != servesInDoubt {
		bypass()
		return
	}
	n := name{key, version}
	store := func(p *process, value int) {
		if s.broken == namesAfterTheLoad {
			n.version, _ = p.m.table.Version(bucket)
		}
		p.store[n] = value
	}
	if value, ok := p.store[n]; ok {
		s.Hits++
		end(value)
		return
	}
	owner := s.owner(p, key)
	if owner == p {
		s.fetch(p, key, func(value int) { store(p, value); end(value) })
		return
	}
	got := func(value int) { store(p, value); end(value) }
	s.after(s.delay(), owner, func() {
		answer := func(value int) { s.after(s.delay(), p, func() { got(value) }) }
		if value, ok := owner.store[n]; ok {
			answer(value)
			return
		}
		s.fetch(owner, key, func(value int) { store(owner, value); answer(value) })
	})
	s.after(500*time.Millisecond, p, bypass)
}

func (s *sim) owner(p *process, key int) *process {
	var ring []*process
	if p.address != "" {
		ring = append(ring, p)
	}
	for _, row := range p.m.Rows() {
		if q := s.processes[row.Incarnation]; row.State == In && row.Address != "" && q != nil {
			ring = append(ring, q)
		}
	}
	if len(ring) == 0 {
		return p
	}
	return ring[(key*7+len(ring))%len(ring)]
}

func (s *sim) fetch(p *process, key int, then func(int)) {
	s.after(s.delay(), nil, func() {
		history := s.values[key]
		value := history[len(history)-1].value
		s.after(s.delay(), p, func() { then(value) })
	})
}

func (s *sim) write(p *process, key, tries int) {
	if s.locks[key] != nil {
		if tries < 20 {
			s.after(10*time.Millisecond+s.delay(), p, func() { s.write(p, key, tries+1) })
		}
		return
	}
	s.n++
	tx := &transaction{name: fmt.Sprint(p.inc, ".", s.n), key: key}
	s.locks[key], s.open[tx] = tx, true
	s.after(s.delay(), p, func() {
		id := p.m.Announce(s.clock(p), "db", s.r.IntN(30) == 0, []uint32{uint32(key)})
		p.writes[id] = tx
		s.act(p)
		if s.broken == commitsUnacknowledged && p.m.waits(id) {
			s.passed(p, id)
		}
		if s.r.Float64() < .05 { // it gives up before COMMIT
			s.after(s.delay(), p, func() {
				if !tx.inFlight {
					delete(p.writes, id)
					s.end(tx)
					p.m.Settle(s.clock(p), id)
					s.act(p)
				}
			})
		}
	})
}

func (s *sim) passed(p *process, id EventID) {
	gap, duration, lost := s.delay(), s.delay(), s.r.Float64() < .03
	if s.r.Float64() < .07 {
		gap = s.between(0, 3*time.Second)
	}
	if s.r.Float64() < .07 {
		duration = s.between(0, 2500*time.Millisecond)
	}
	s.after(gap, p, func() {
		tx := p.writes[id]
		if tx == nil || !s.open[tx] {
			return
		}
		tx.inFlight = true
		if s.broken == settlesBeforeTheAnswer {
			p.m.Settle(s.clock(p), id)
			s.act(p)
		}
		if lost {
			s.after(s.delay(), p, func() { p.m.Lost(id) })
		}
		s.after(duration, nil, func() {
			s.Writes++
			history := s.values[tx.key]
			written := history[len(history)-1].value + 1
			s.values[tx.key] = append(history, committed{s.now, written})
			s.end(tx)
			if !lost {
				s.after(s.delay(), p, func() {
					s.push(p, tx.key, written, p.m.Settle(s.clock(p), id))
					s.act(p)
				})
			}
		})
	})
}

// push gives what was written to its owner, under the name after the settlement (R8).
func (s *sim) push(p *process, key, written int, pushable []uint32) {
	version, settled := p.m.table.Version(uint32(key))
	if s.broken == pushesWhatIsContended {
		pushable, settled = []uint32{uint32(key)}, true
	}
	if settled && slices.Contains(pushable, uint32(key)) {
		owner := s.owner(p, key)
		s.after(s.delay(), owner, func() { owner.store[name{key, version}] = written })
	}
}

func (s *sim) end(tx *transaction) {
	delete(s.open, tx)
	if s.locks[tx.key] == tx {
		delete(s.locks, tx.key)
	}
}
