package coherence

import (
	"slices"
	"time"
)

// Readers of a simulated cluster, its stores, and the check of every read.

type versionedKey struct {
	key     int
	version uint64
}

// flight is a load for a versioned key, shared by all that ask for the key meanwhile.
type flight struct {
	begun time.Duration
	then  []func(value int)
}

// committed is the value of a key from some time on.
type committed struct {
	at      time.Duration
	value   int
	outside bool // no process has announced it
}

// check verifies that the database held a value at some instant since the begin of a read, or would have
// without what was written from outside.
func (s *sim) check(p *process, key, value int, begun time.Duration) {
	history := s.history[key]
	for i, c := range slices.Backward(history) {
		if superseded(history[i+1:], begun) {
			break
		}
		if c.value == value {
			return
		}
	}
	s.stale = true
	s.wrong("%v read key %d as %d, begun at %v: %v", p, key, value, begun, history)
}

func (s *sim) bucket(key int) uint32 { return uint32(key % s.buckets) }

// deadline returns the deadline of the key's own database.
func (s *sim) deadline(p *process, key int) Time {
	database := s.databaseOf(key)
	if s.off == offOwn {
		database = 0
	}
	return p.m.table.DatabaseDeadline(database)
}

// read reads in the order of R2: the deadline, the version, the clock.
func (s *sim) read(p *process, key int) {
	s.Reads++
	deadline := s.deadline(p, key)
	if deadline == 0 && s.off != offDeadline {
		s.Bypasses++ // it reads the database itself, which is right
		return
	}
	begun := s.now
	if !s.chance(20) {
		s.readVersion(p, key, begun, deadline)
		return
	}
	// It is slow here, or the process is stopped.
	if s.off == offDeadline {
		version, settled := p.m.table.Version(s.bucket(key))
		s.after(s.delay(), p, func() { s.readStore(p, key, begun, s.deadline(p, key), version, settled) })
		return
	}
	if s.faults && s.chance(s.naps) {
		s.Naps++
		s.stop(p, s.now+s.duration())
	}
	s.after(s.delay(), p, func() { s.readVersion(p, key, begun, deadline) })
}

func (s *sim) readVersion(p *process, key int, begun time.Duration, deadline Time) {
	version, settled := p.m.table.Version(s.bucket(key))
	s.readStore(p, key, begun, deadline, version, settled)
}

func (s *sim) readStore(p *process, key int, begun time.Duration, deadline Time, version uint64, settled bool) {
	if s.off != nothing {
		deadline, version, settled = s.breakRead(p, key, deadline, version, settled)
	}
	if s.clock(p) >= deadline || !settled {
		s.Bypasses++
		return
	}
	n := versionedKey{key, version}
	if value, ok := p.store[n]; ok {
		s.Hits++
		s.check(p, key, value, begun)
		return
	}
	owner := s.owner(p, key)
	if owner == p {
		s.load(p, n, func(value int) { s.check(p, key, value, begun) })
		return
	}
	s.share(p, n, func() { s.requestFromOwner(p, owner, n) }, func(value int) { s.check(p, key, value, begun) })
}

func (s *sim) owner(p *process, key int) *process {
	if len(p.ring) == 0 {
		return p
	}
	return p.ring[(key*7+len(p.ring))%len(p.ring)]
}

// share begins a load, which ends with [sim.landed], unless it is under way already.
func (s *sim) share(p *process, n versionedKey, begin func(), then func(value int)) {
	f := p.flights[n]
	if f == nil || f.begun+simLease/2 < s.now {
		f = &flight{begun: s.now}
		p.flights[n] = f
		begin()
	}
	f.then = append(f.then, then)
}

// landed keeps a value under a versioned key, and gives it to all that wait for it.
func (s *sim) landed(p *process, n versionedKey, value int) {
	kept := n
	if s.off == offEarly {
		kept.version, _ = p.m.table.Version(s.bucket(n.key))
	}
	if !s.chance(30) { // or the store is full
		p.store[kept] = value
	}
	if f := p.flights[n]; f != nil {
		delete(p.flights, n)
		for _, then := range f.then {
			then(value)
		}
	}
}

// load loads from the database.
func (s *sim) load(p *process, n versionedKey, then func(value int)) {
	at := s.serverOf(s.databaseOf(n.key))
	s.share(p, n, func() {
		s.at(s.statementArrival(p, at), nil, func() {
			if at.down > s.now {
				return
			}
			s.Loads++
			history := s.history[n.key]
			value := history[len(history)-1].value
			s.at(s.answerArrival(p, at), p, func() { s.landed(p, n, value) })
		})
	}, then)
}

func (s *sim) requestFromOwner(p, owner *process, n versionedKey) {
	there, back := owner.place.number, p.place.number
	s.at(s.arrival(back, there), owner, func() {
		answer := func(value int) {
			s.at(s.arrival(there, back), p, func() { s.landed(p, n, value) })
		}
		if value, ok := owner.store[n]; ok {
			answer(value)
			return
		}
		s.load(owner, n, answer)
	})
}

// readEverywhere reads keys at the instant of a commit, when a stale value is most likely to show.
func (s *sim) readEverywhere(keys []int) {
	for _, l := range s.places {
		if p := l.process; s.loads && p != nil && p.alive && p.stopped <= s.now {
			for _, key := range keys {
				s.read(p, key)
			}
		}
	}
}
