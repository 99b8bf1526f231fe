package coherence

import (
	"fmt"
	"testing"
	"time"
)

// simRecovery is how soon after an insider has gone no trace of it may be left.
const simRecovery = 10 * time.Second

// FuzzInsider checks that whatever a process says that has the secret, honest members read nothing stale and
// stay within bounds; ten seconds after it has gone they serve, and nothing is left of it (R17).
func FuzzInsider(f *testing.F) {
	for seed := range uint64(40) {
		w := numbers{rest: seed * 0x9E3779B97F4A7C15}
		input := make([]byte, 400)
		for i := range input {
			input[i] = byte(w.next())
		}
		f.Add(seed, byte(seed), input)
	}
	f.Fuzz(func(t *testing.T, seed uint64, row byte, input []byte) {
		if err := underInsider(seed%64, []State{0, 0, Joining, In, Out}[row%5], input, nil); err != nil {
			t.Error(err)
		}
	})
}

// amongInsiders makes a small cluster without other faults.
func amongInsiders(o *options) {
	quiet(o)
	o.size, o.databases, o.apart, o.clients, o.codec = 2+o.size%2, 2, false, 0, false
	o.length, o.loadAfter, o.writes, o.partial, o.keys, o.buckets = 2*time.Second, 0, 60, 0, 2, 2
	o.outsideEvery, o.orphans, o.every = 0, 330*time.Millisecond, 30
	if o.size == 3 {
		o.partial, o.outsideEvery = 300, 700*time.Millisecond
	}
}

// underInsider runs a cluster in which an insider says what is drawn from an input, and returns what was wrong.
func underInsider(seed uint64, state State, input []byte, story func(*sim)) error {
	s := newSim(seed, nothing, amongInsiders)
	if story != nil {
		story(s)
	}
	for _, l := range s.places {
		s.start(l)
	}
	if s.outsideEvery > 0 {
		s.after(0, nil, s.nextOutside)
	}
	s.run(time.Second)
	s.faults = false
	w := &numbers{input: input}
	x := s.newInsider(w.next, state)
	for len(w.input) > 0 && s.violation == nil {
		x.speaks()
		s.calm = s.now // writers may have to wait because of it
		s.run(s.now + time.Duration(1+x.below(30))*time.Millisecond)
	}
	x.goes()
	gone := s.now
	s.calm = gone
	s.run(gone + simRecovery/3)
	s.loads = false // to save time
	s.run(gone + simRecovery)
	s.loads = true
	s.run(s.now + simLease/2)
	s.loads = false
	s.run(s.now + simLease)
	s.checkRecovered()
	if s.violation != nil {
		return fmt.Errorf("seed %d, an insider whose row is %v: %w", seed, state, s.violation)
	}
	return nil
}

// checkRecovered checks that nothing is left of an insider that has gone.
func (s *sim) checkRecovered() {
	for _, p := range s.processes {
		if what := p.m.beyondBounds(); what != "" {
			s.wrong("%v keeps too much: %s", p, what)
		}
		if open, _, _ := p.m.Doubt(s.clock(p)); s.violation == nil && (!p.m.Serves(s.clock(p)) || open > 0) {
			s.wrong("%v is in phase %s, and %d open events put something in doubt", p, phaseNames[p.m.join.phase], open)
		}
	}
	if s.violation == nil {
		s.rest()
	}
}
