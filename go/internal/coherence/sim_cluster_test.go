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
	// The proportions to a lease are those of package node and of members.py.
	simReadTimeout = 1700 * time.Millisecond // until a session ends over which nothing arrives
	simTimeout     = time.Second             // of a statement about the members table
	simPatience    = 100 * time.Millisecond  // that a view waits for looks
	simDialling    = 350 * time.Millisecond
	simHeartbeat   = time.Second             // between two heartbeats in the members table
	simOverdue     = 3300 * time.Millisecond // without a heartbeat, until it is overdue
	simCleaning    = 300 * time.Millisecond  // until a row that is out is removed

	maxPlaces = 7
	dbPlace   = maxPlaces // the first database server's, as the network counts; then the second one's

	// The limits once all faults have ended.
	maxCommit = 6 * simLease  // a commit is allowed, or given up
	maxHeal   = 25 * simLease // every process serves, nothing is in doubt, all tables are equal
)

// sim is one schedule of a cluster.
type sim struct {
	options
	tally
	random rand.PCG
	steps
	now   time.Duration
	story io.Writer // nil: the steps are not printed

	places    []*place
	processes []*process // in the order of their start
	byID      map[Incarnation]*process
	insiders  map[Incarnation]bool
	// blocked is until when nothing that one place sends reaches another.
	blocked [dbPlace + 2][dbPlace + 2]time.Duration
	database
	open  []*transaction // in the database, in the order of their begin
	locks [maxKeys]*transaction

	faults    bool          // there are still faults
	loads     bool          // there are still readers and writers
	calm      time.Duration // when the last fault so far ends
	calmApart time.Duration // the same of faults that only the second database server has
	fuse      int           // until the next strike
	seen      transitions   // of states
	violation error
	stale     bool // the violation is a stale read
	booting   bool // a machine is about to draw an epoch
	off       rule // the rule that this simulation breaks on purpose
}

// place is where a process runs, and the next process when that has ended: an address, on a host.
type place struct {
	number  int
	address string // "": a client's
	host    string
	refused bool // the others do not admit it
	process *process
}

func newSim(seed uint64, off rule, bias func(*options)) *sim {
	s := &sim{byID: make(map[Incarnation]*process), insiders: make(map[Incarnation]bool), seen: make(transitions),
		faults: true, loads: true, off: off}
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
		p.refused = s.refused && i > 0 && i == s.size-1
		s.places = append(s.places, p)
	}
	return s
}

// schedule runs the whole schedule, and returns what was wrong.
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
	s.record("all faults end now")
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
		wrong := s.checkWhole()
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

// checkWhole returns an error unless every process serves, nothing is in doubt, all tables are equal, and no
// note is left.
func (s *sim) checkWhole() error {
	for d := range s.databases {
		if n := len(s.notesOf(d)); n > 0 {
			return fmt.Errorf("%d notes are left in database %d", n, d)
		}
	}
	var first *process
	for _, l := range s.places {
		p := l.process
		if p == nil || !p.alive || l.refused {
			continue // it serves nothing
		}
		if open, _, _ := p.m.Doubt(s.clock(p)); !p.m.Serves(s.clock(p)) || open > 0 {
			return fmt.Errorf("%v is in phase %s, and %d open events put something in doubt", p, phaseNames[p.m.join.phase], open)
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

func (s *sim) record(format string, args ...any) {
	if s.story != nil {
		fmt.Fprintf(s.story, "%9.4f %s\n", s.now.Seconds(), fmt.Sprintf(format, args...))
	}
}
