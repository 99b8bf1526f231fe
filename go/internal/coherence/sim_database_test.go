package coherence

import (
	"errors"
	"slices"
	"time"
)

// The database of a simulated cluster: how it is queried, and how it fails.

// database is what all processes share: the members table and the first database on one server, and the
// second database there too, or on a server of its own.
type database struct {
	server
	second  server
	history [maxKeys][]committed
	value   int // the last one that was written, or after which a transaction is named

	rows          []*memberRow
	counted       int      // rows that there should be
	counting      uint64   // drawn anew when that is lowered to what is there
	changes       []change // of rows and their count, for a failover that loses the last ones
	notes         []*outsideNote
	expected      int // the identity under which the members table was last viewed
	expectedApart int // that of the second server, as the members table knows it; 0: none yet
	apartBefore   int // what it knew before
	apartChanged  time.Duration
}

type server struct {
	place    int
	down     time.Duration // until when it answers nobody
	slow     time.Duration // until when every second statement takes long
	session  int           // of all connections; another one after a restart
	identity int           // another one after a failover
	since    time.Duration // this identity is the server's
}

// serverOf returns the server that a database is on.
func (s *sim) serverOf(database int) *server {
	if s.apart && database == 1 {
		return &s.second
	}
	return &s.server
}

func (s *sim) databaseOf(key int) int { return key % s.databases }

var errDatabase = errors.New("the database does not answer")

// databaseQuery is what a process asks about the members table. Its stages are executed one after the other,
// each as a statement of its own.
type databaseQuery struct {
	process  *process
	stages   []func()
	answer   func(error) // nil: no answer is wanted
	session  int         // in which it is sent
	limit    time.Duration
	answered bool
	patience time.Duration // until when the second stage waits for a look
}

// query has the database execute something for a process, which asks one thing at a time. A query that the
// process has given up because no answer came in time may still be executed later.
func (s *sim) query(p *process, answer func(error), stages ...func()) {
	p.queries = append(p.queries, &databaseQuery{process: p, stages: stages, answer: answer})
	if len(p.queries) == 1 {
		s.nextQuery(p)
	}
}

func (s *sim) nextQuery(p *process) {
	q := p.queries[0]
	q.session, q.limit = s.session, s.now+simTimeout
	at := s.statementArrival(p, &s.server)
	if at >= q.limit {
		s.answerAt(q.limit, q, errDatabase)
		if s.below(2) == 0 {
			return
		}
	}
	s.at(at, nil, func() { s.execute(q, 0) })
}

func (s *sim) execute(q *databaseQuery, stage int) {
	if stage > 0 && q.process.looking && !q.process.away && s.now < q.patience {
		s.after(time.Millisecond, nil, func() { s.execute(q, stage) })
		return
	}
	if s.session != q.session || s.down > s.now {
		s.answerAt(s.now+s.delay(), q, errDatabase)
		return
	}
	if q.answered { // late: it counts as failed already
		q.process.strays()
	}
	q.stages[stage]()
	if stage == 0 {
		q.patience = s.now + simPatience
	}
	if stage+1 < len(q.stages) {
		s.after(s.delay(), nil, func() { s.execute(q, stage+1) })
		return
	}
	at, err := s.answerArrival(q.process, &s.server), error(nil)
	if at >= q.limit {
		at, err = max(q.limit, s.now), errDatabase
	}
	s.answerAt(at, q, err)
}

// answerAt answers a query, once.
func (s *sim) answerAt(at time.Duration, q *databaseQuery, err error) {
	p := q.process
	s.at(at, p, func() {
		if q.answered {
			return
		}
		q.answered = true
		p.queries = p.queries[1:]
		if len(p.queries) > 0 {
			s.nextQuery(p)
		}
		if s.session != q.session {
			err = errDatabase
		}
		if q.answer != nil {
			q.answer(err)
			s.act(p)
		}
	})
}

func (s *sim) statementArrival(p *process, at *server) time.Duration {
	return s.arrival(p.place.number, at.place) + s.slowness(at)
}

func (s *sim) answerArrival(p *process, at *server) time.Duration {
	return s.arrival(at.place, p.place.number) + s.slowness(at)
}

// queryServer has a server execute something for a process, beside its other queries. The answer is called
// once, in time.
func (s *sim) queryServer(p *process, at *server, execute func(), answer func(error)) {
	session, limit, answered := at.session, s.now+simTimeout, false
	once := func(err error) {
		if !answered {
			answered = true
			answer(err)
			s.act(p)
		}
	}
	s.at(limit, p, func() { once(errDatabase) })
	s.at(s.statementArrival(p, at), nil, func() {
		err := errDatabase
		if at.session == session && at.down <= s.now {
			execute()
			err = nil
		}
		s.at(s.answerArrival(p, at), p, func() { once(err) })
	})
}

func (s *sim) slowness(at *server) time.Duration {
	if at.slow > s.now && s.below(2) == 0 {
		return s.between(0, 1500*time.Millisecond)
	}
	return 0
}

// databaseFails makes a database server slow or unreachable, or replaces it.
func (s *sim) databaseFails(kind fault, at *server, until time.Duration) {
	switch kind {
	case databaseSlow:
		at.slow = until
	case databaseDown:
		at.down = max(at.down, until)
	case databaseRestart:
		s.restartDatabase(at)
		at.down = max(at.down, s.now+s.between(time.Millisecond, time.Second))
		s.calmsDown(at, at.down)
	case failover:
		if at.down <= s.now {
			s.failOver(at)
		}
	}
}

// someServer returns the server that a fault strikes.
func (s *sim) someServer() *server {
	if s.apart && s.below(2) == 0 {
		return &s.second
	}
	return &s.server
}

// calmsDown says when a fault of a server ends.
func (s *sim) calmsDown(at *server, end time.Duration) {
	if at == &s.second {
		s.calmApart = max(s.calmApart, end)
	} else {
		s.calm = max(s.calm, end)
	}
}

// calmFor returns when the last fault ends that can affect transactions of a server.
func (s *sim) calmFor(at *server) time.Duration {
	if at == &s.second {
		return max(s.calm, s.calmApart)
	}
	return s.calm
}

// restartDatabase ends all connections and open transactions.
func (s *sim) restartDatabase(at *server) {
	for _, tx := range slices.Clone(s.open) {
		if tx.server == at && tx.inFlight && s.below(2) == 0 {
			s.takeEffect(tx)
		}
	}
	at.session++
	for _, tx := range slices.Clone(s.open) {
		if tx.server == at {
			s.end(tx)
			s.after(s.delay(), tx.writer, func() { s.connectionLost(tx) })
		}
	}
}

// failOver makes another server the database, which knows nothing of the last commits. For longer than a
// lease neither of them answers.
func (s *sim) failOver(at *server) {
	known := s.now
	if s.below(3) > 0 {
		known -= s.between(0, 500*time.Millisecond)
	}
	known = max(known, at.since)
	s.restartDatabase(at)
	at.down = s.now + simLease*105/100 + s.between(0, time.Second)
	s.calmsDown(at, at.down)
	s.at(at.down, nil, func() {
		at.identity++
		at.since = s.now
		s.loseCommits(at, known)
		s.loseNotes(at, known)
		if at == &s.server {
			s.loseRows(known)
		}
	})
}

// loseCommits makes every key what it was at some time.
func (s *sim) loseCommits(at *server, known time.Duration) {
	for key := range s.keys {
		if s.serverOf(s.databaseOf(key)) != at {
			continue
		}
		history := s.history[key]
		i := len(history) - 1
		for history[i].at > known {
			i--
		}
		if i < len(history)-1 {
			s.Lost++
			s.record("key %d is %d again", key, history[i].value)
			s.history[key] = append(history, committed{at: s.now, value: history[i].value})
		}
	}
}

// loseRows makes the members table what it was at some time.
func (s *sim) loseRows(known time.Duration) {
	for _, c := range slices.Backward(s.changes) {
		if c.at > known {
			s.undo(c)
		}
	}
	s.changes = nil
	if s.apartChanged > known {
		s.expectedApart = s.apartBefore
	}
}

func (s *sim) undo(c change) {
	s.counted, s.counting = c.counted, c.counting
	before := c.before
	s.byID[before.Incarnation].strays()
	r := s.row(before.Incarnation)
	switch {
	case before.Incarnation == 0:
	case r == nil:
		s.rows = append(s.rows, &before)
	case before.State == 0:
		s.rows = slices.DeleteFunc(s.rows, func(x *memberRow) bool { return x == r })
	default:
		*r = before
	}
	s.followAll()
}
