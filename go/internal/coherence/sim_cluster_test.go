package coherence

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

const (
	simBuckets = 8
	simLease   = time.Second
	// The rest is to a lease what it is in the package node and in members.py.
	simSilence  = 1700 * time.Millisecond // until a session ends over which nothing comes
	simTimeout  = time.Second             // of a statement about the members table
	simPatience = 100 * time.Millisecond  // that a view waits for looks
	simDialling = 350 * time.Millisecond
	simSeen     = time.Second             // between two signs of life in the members table
	simUnheard  = 3300 * time.Millisecond // without one, until a process counts as silent
	simCleaning = 300 * time.Millisecond  // until a row that is out is removed

	maxPlaces = 7
	dbPlace   = maxPlaces // the first database server's, as the network counts; then the second one's

	// What has to have happened once all is whole.
	maxCommit = 6 * simLease  // a commit is allowed, or given up
	maxHeal   = 25 * simLease // everyone is in standing, nothing in doubt, all tables equal
)

// sim is one schedule of a cluster.
type sim struct {
	options
	tally
	random rand.PCG
	steps
	now   time.Duration
	story io.Writer // nil: nobody listens

	places    []*place
	processes []*process // in the order of their start
	byID      map[Incarnation]*process
	insiders  map[Incarnation]bool
	// blocked is until when nothing that one place sends reaches another.
	blocked [dbPlace + 2][dbPlace + 2]time.Duration
	database
	open  []*transaction // in the database, in the order of their begin
	locks [maxKeys]*transaction

	faults    bool          // there are some yet
	loads     bool          // there are readers and writers yet
	calm      time.Duration // when the last fault that there was so far has an end
	calmApart time.Duration // the same of those that only the second database server has
	fuse      int           // of the next strike
	violation error
	stale     bool // because of a read
	booting   bool // a machine is about to draw an epoch
	off       rule // what this simulation does wrong on purpose
}

// place is where a process runs, and the next one when that has ended: an address, on a host.
type place struct {
	number  int
	address string // "": a client's
	host    string
	strange bool // nobody lets it in
	process *process
}

func newSim(seed uint64, off rule, bias func(*options)) *sim {
	s := &sim{byID: make(map[Incarnation]*process), insiders: make(map[Incarnation]bool), faults: true, loads: true, off: off}
	s.second = server{place: dbPlace + 1, identity: 1}
	s.place = dbPlace
	s.random.Seed(seed, 7)
	s.options = s.draw()
	if bias != nil {
		bias(&s.options)
	}
	for key := range s.keys {
		s.history[key] = []committed{{}}
	}
	s.makeTables(s.known)
	s.fuse = s.newFuse()
	for i := range s.size {
		p := &place{number: i, host: fmt.Sprint("host ", s.below(s.hosts))}
		if i < 2 || !s.chance(s.clients) {
			p.address = fmt.Sprint("p", i)
		}
		p.strange = s.strange && i > 0 && i == s.size-1
		s.places = append(s.places, p)
	}
	return s
}

// schedule runs the whole, and returns what was wrong.
func (s *sim) schedule() error {
	for _, l := range s.places {
		begin := time.Duration(0)
		if s.below(3) == 0 {
			begin = s.between(0, s.length/2)
		}
		s.after(begin, nil, func() { s.start(l) })
	}
	s.after(s.between(0, 2*time.Second), nil, s.nextFault)
	s.after(s.between(0, 2*time.Second), nil, s.nextOutside)
	s.run(s.length)
	if s.violation == nil {
		s.heal()
	}
	if s.violation == nil && s.off == nothing {
		s.rest()
	}
	return s.violation
}

// heal ends all faults; readers and writers go on for a while.
func (s *sim) heal() {
	s.tell("all is whole from now on")
	s.faults = false
	s.blocked = [dbPlace + 2][dbPlace + 2]time.Duration{}
	s.slow, s.second.slow, s.tail = 0, 0, 10*time.Millisecond
	s.calm = max(s.now, s.down, s.second.down)
	for _, p := range s.processes {
		s.resume(p)
	}
	for _, l := range s.places {
		s.start(l)
	}
	s.run(s.calm + s.loadAfter)
	s.loads = false
}

// rest waits until a cluster that is left in peace has come to rest.
func (s *sim) rest() {
	for s.violation == nil {
		wrong := s.whole()
		if wrong == nil {
			s.Healed = max(s.Healed, s.now-s.calm)
			return
		}
		if s.now > s.calm+maxHeal {
			s.violation = fmt.Errorf("not healed after %v: %w", maxHeal, wrong)
		}
		s.run(s.now + 100*time.Millisecond)
	}
}

// whole tells what is missing: everyone in standing, nothing in doubt, all tables equal, no note left.
func (s *sim) whole() error {
	for d := range s.databases {
		if n := len(s.notesOf(d)); n > 0 {
			return fmt.Errorf("%d notes are left in database %d", n, d)
		}
	}
	var first *process
	for _, l := range s.places {
		p := l.process
		if p == nil || !p.alive || l.strange {
			continue // a stranger serves nothing
		}
		if open, _, _ := p.m.Doubt(s.clock(p)); !p.m.Serves(s.clock(p)) || open > 0 {
			return fmt.Errorf("%v is in phase %d, and %d open events put something in doubt", p, p.m.join.phase, open)
		}
		for d := range s.databases {
			if s.clock(p) >= p.m.table.DatabaseDeadline(d) {
				return fmt.Errorf("%v does not serve database %d", p, d)
			}
		}
		if first == nil {
			first = p
		}
		for b := range uint32(simBuckets) {
			v, settled := p.m.table.Version(b)
			if w, _ := first.m.table.Version(b); !settled || v != w {
				return fmt.Errorf("%v and %v differ at bucket %d: %x and %x, settled %v and %v",
					p, first, b, v, w, p.m.events.settled.pack(), first.m.events.settled.pack())
			}
		}
	}
	return nil
}

func (s *sim) wrong(format string, args ...any) {
	if s.violation == nil {
		s.violation = fmt.Errorf("at %v: "+format, append([]any{s.now}, args...)...)
	}
}

func (s *sim) tell(format string, args ...any) {
	if s.story != nil {
		fmt.Fprintf(s.story, "%9.4f %s\n", s.now.Seconds(), fmt.Sprintf(format, args...))
	}
}
