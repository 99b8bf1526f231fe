package coherence

import "time"

// fault is a kind of thing that goes wrong in a schedule.
type fault int

const (
	stop              fault = iota // a process is stopped, and goes on later
	kill                           // a process ends at once, and its connections with it
	hostLost                       // a process ends, and its connections do not show it
	leave                          // a process leaves
	putOut                         // a process is marked out in the members table, as any process may do at any time
	evict                          // a store loses all its entries
	breakSession                   // a session ends, at one side first
	cutPair                        // two places cannot reach each other
	cutOneWay                      // nothing that one place sends reaches the other
	cutGroup                       // some places and the others cannot reach each other
	cutGroupOneWay                 // nothing that some places send reaches the others
	cutDatabase                    // a place cannot reach the database
	cutDatabaseOneWay              // its statements do not arrive, or the answers do not
	databaseSlow                   // every statement takes long
	databaseDown                   // it answers no query, and then goes on
	databaseRestart                // all connections and open transactions end
	failover                       // it is down for longer than a lease and has lost its last commits
	deleteRow                      // somebody deletes a row of the members table
	deleteRows                     // or all of them
	dropTables                     // or drops the table and the cluster's row; both are made again
	insiderSpeaks                  // a process that has the secret says whatever it likes
	faultKinds
)

var faultNames = [faultKinds]string{"stop", "kill", "host lost", "leave", "put out", "evict", "break session", "cut pair",
	"cut one way", "cut group", "cut group one way", "cut database", "cut database one way", "database slow",
	"database down", "database restart", "failover", "delete row", "delete rows", "drop tables", "insider"}

// usual is how often each fault occurs in comparison with the others.
var usual = [faultKinds]int{stop: 6, kill: 5, hostLost: 2, leave: 2, putOut: 4, evict: 1, breakSession: 4, cutPair: 4, cutOneWay: 4,
	cutGroup: 2, cutGroupOneWay: 2, cutDatabase: 3, cutDatabaseOneWay: 3, databaseSlow: 2, databaseDown: 1,
	databaseRestart: 1, failover: 1, deleteRow: 2, deleteRows: 1, dropTables: 1, insiderSpeaks: 1}

func (s *sim) nextFault() {
	if !s.faults {
		return
	}
	total := 0
	for _, w := range s.weights {
		total += w
	}
	if total > 0 {
		x := s.below(total)
		for kind, w := range s.weights {
			if x -= w; x < 0 {
				s.happen(fault(kind))
				break
			}
		}
	}
	s.after(s.between(20*time.Millisecond, s.faultEvery), nil, s.nextFault)
}

func (s *sim) happen(kind fault) {
	p := s.someone()
	if p == nil {
		return
	}
	s.Faults[kind]++
	until := s.now + s.duration()
	server := &s.server
	if kind >= databaseSlow {
		server = s.someServer()
	}
	s.calmsDown(server, until)
	if s.story != nil {
		s.record("fault: %s at %v until %v", faultNames[kind], p, until)
	}
	switch kind {
	case stop:
		s.stop(p, until)
	case kill:
		s.die(p, false)
	case hostLost:
		s.die(p, true)
	case leave:
		s.leave(p)
	case putOut:
		if r := s.row(p.id); r != nil && s.down <= s.now {
			s.setState(r, Out, "a fault")
		}
	case evict:
		clear(p.store)
	case breakSession:
		if n := len(p.sessions); n > 0 {
			x := p.sessions[s.below(n)]
			s.at(s.now, p, func() { s.close(x, x.side(p), s.below(2) == 0) })
		}
	case cutPair, cutOneWay, cutGroup, cutGroupOneWay:
		s.cut(kind, until)
	case deleteRow, deleteRows, dropTables:
		s.rowsAreDeleted(kind)
	case insiderSpeaks:
		s.insiderComes(until)
	case cutDatabase, cutDatabaseOneWay:
		s.cutDatabase(p.place.number, kind == cutDatabase, until)
	default:
		s.databaseFails(kind, server, until)
	}
}

func (s *sim) duration() time.Duration {
	longest := s.lasting
	if longest == 0 {
		longest = []time.Duration{100, 500, 1500, 4000}[s.below(4)] * time.Millisecond
	}
	return s.between(longest/4, longest)
}

// someone returns a random process that is alive, or nil.
func (s *sim) someone() *process {
	i := s.below(len(s.places))
	for n := range s.places {
		if p := s.places[(i+n)%len(s.places)].process; p != nil && p.alive {
			return p
		}
	}
	return nil
}

func (s *sim) cut(kind fault, until time.Duration) {
	group := 1 << s.below(s.size) // places, by their bits
	others := group
	for others == group {
		others = 1 << s.below(s.size)
	}
	if kind == cutGroup || kind == cutGroupOneWay {
		group = 1 + s.below(1<<s.size-2)
		others = ^group
	}
	for a := range s.size {
		for b := range s.size {
			if group>>a&1 == 1 && others>>b&1 == 1 {
				s.block(a, b, until)
				if kind == cutPair || kind == cutGroup {
					s.block(b, a, until)
				}
			}
		}
	}
}

func (s *sim) cutDatabase(at int, both bool, until time.Duration) {
	there, place := s.below(2) == 0, s.someServer().place
	if both || there {
		s.block(at, place, until)
	}
	if both || !there {
		s.block(place, at, until)
	}
}

// stop stops a process for a while. A peer that hears nothing of it for too long ends the session.
func (s *sim) stop(p *process, until time.Duration) {
	if p.stopped > s.now {
		return
	}
	p.stopped = until
	s.after(until-s.now, nil, func() {
		if p.stopped == until {
			s.resume(p)
		}
	})
	if until > s.now+simReadTimeout {
		s.after(simReadTimeout+s.delay(), nil, func() {
			if p.stopped == until {
				s.timeOut(p)
			}
		})
	}
}

func (s *sim) resume(p *process) {
	p.stopped = 0
	for _, call := range p.parked {
		s.at(s.now, p, call)
	}
	p.parked = nil
}

// timeOut ends the sessions with a process of which the others hear nothing.
func (s *sim) timeOut(p *process) {
	for _, l := range s.places {
		if q := l.process; q != nil && q != p {
			s.timeOutAt(p, q)
		}
	}
}

// die ends a process. Another one starts at its place later.
func (s *sim) die(p *process, hostLost bool) {
	if !p.alive {
		return
	}
	p.alive = false
	s.record("%v has died", p)
	for _, x := range p.sessions {
		side := x.side(p)
		if !hostLost {
			at := s.arrival(p.place.number, x.sides[1-side].place.number)
			if s.below(2) == 0 {
				at = max(at, x.last[1-side]+1)
			}
			s.endAt(x, 1-side, at)
		}
	}
	if hostLost {
		s.after(simReadTimeout, nil, func() { s.timeOut(p) })
	}
	s.abortAll(p, hostLost)
	if s.faults && s.chance(s.tidies) && s.down <= s.now {
		s.removeRows(0, func(r *memberRow) bool { return r.Incarnation == p.id })
	}
	again := s.between(s.restart[0], s.restart[1])
	s.calm = max(s.calm, s.now+again)
	s.after(again, nil, func() { s.start(p.place) })
}

// leave has a process leave in order, though some of its transactions may still be open.
func (s *sim) leave(p *process) {
	s.at(s.now, p, func() {
		p.m.Leave(s.clock(p))
		s.act(p)
		s.after(s.between(time.Millisecond, 300*time.Millisecond), nil, func() { s.die(p, false) })
	})
}

// point is a step of a process after which it may end, or be stopped or cut off: so also between any two of
// announcing, sending COMMIT, its answer, and settling.
func (s *sim) point(p *process, weight int) {
	if s.strike == 0 || !s.faults {
		return
	}
	if s.fuse -= weight; s.fuse > 0 {
		return
	}
	s.fuse = s.newFuse()
	s.Strikes++
	until := s.now + s.duration()
	s.calm = max(s.calm, until)
	s.record("strike at %v until %v", p, until)
	switch s.below(6) {
	case 0, 1:
		s.die(p, false)
	case 2:
		s.die(p, true)
	case 3:
		s.stop(p, until)
	case 4:
		for other := range s.size {
			if other != p.place.number {
				s.block(other, p.place.number, until)
				s.block(p.place.number, other, until)
			}
		}
	case 5:
		s.cutDatabase(p.place.number, s.below(2) == 0, until)
	}
}

// heavy is the weight of a point between two steps of a transaction.
const heavy = 20

// then does the next step of a process after a point.
func (s *sim) then(p *process, call func()) {
	s.point(p, heavy)
	switch {
	case !p.alive:
	case p.stopped > s.now:
		p.parked = append(p.parked, call)
	default:
		call()
	}
}

func (s *sim) newFuse() int { return 1 + s.below(2*s.strike+1) }
