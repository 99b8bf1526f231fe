package coherence

import (
	"slices"
	"strconv"
	"time"
)

// Writers of a simulated cluster.

// transaction writes to some keys of one database.
type transaction struct {
	name      string
	database  string
	server    *server
	writer    *process
	keys      []int
	id        EventID // 0: not announced yet
	announced time.Duration
	cleared   bool  // COMMIT may be sent
	inFlight  bool  // COMMIT was sent
	over      bool  // at the database
	values    []int // committed
}

// freeKeys draws keys of a database that no open transaction writes.
func (s *sim) freeKeys(database int) (keys []int) {
	for range 1 + s.below(3) {
		key := s.below(s.keys)
		if s.databaseOf(key) == database && s.locks[key] == nil && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (s *sim) write(p *process) {
	database := s.below(s.databases)
	at := s.serverOf(database)
	if at.down > s.now || s.isCut(p.place.number, at.place) {
		return
	}
	keys := s.freeKeys(database)
	if len(keys) == 0 {
		return
	}
	s.value++
	tx := &transaction{name: strconv.Itoa(s.value), database: strconv.Itoa(database), server: at, writer: p, keys: keys}
	for _, key := range keys {
		s.locks[key] = tx
	}
	s.open = append(s.open, tx)
	s.after(s.delay(), p, func() { s.announce(tx) })
}

func (s *sim) announce(tx *transaction) {
	if tx.over {
		return
	}
	p := tx.writer
	var buckets []uint32
	for _, key := range tx.keys {
		buckets = append(buckets, s.bucket(key))
	}
	s.Announced++
	tx.announced = s.now
	var err error
	if tx.id, err = p.m.Announce(s.clock(p), tx.database, s.chance(s.every), buckets); err != nil {
		s.wrong("%v cannot announce: %v", p, err)
	}
	p.writes = append(p.writes, tx)
	if s.story != nil {
		s.record("%v announces %d of keys %v", p, tx.id.Sequence, tx.keys)
	}
	s.act(p)
	if s.chance(s.fails) {
		s.after(s.delay(), p, func() { s.giveUp(tx) })
	}
	s.point(p, heavy)
}

// isPending reports whether a transaction's writer has yet to settle it.
func (tx *transaction) isPending() bool { return slices.Contains(tx.writer.writes, tx) }

func (tx *transaction) forget() {
	p := tx.writer
	p.writes = slices.DeleteFunc(p.writes, func(w *transaction) bool { return w == tx })
}

// giveUp ends a transaction for which no COMMIT was sent.
func (s *sim) giveUp(tx *transaction) {
	if tx.isPending() && !tx.inFlight {
		s.at(s.arrival(tx.writer.place.number, tx.server.place), nil, func() { s.end(tx) })
		s.settle(tx)
	}
}

// connectionLost notifies the writer that the database has ended the connection.
func (s *sim) connectionLost(tx *transaction) {
	switch {
	case !tx.isPending():
	case tx.inFlight:
		tx.forget()
		tx.writer.m.Lost(tx.id)
		s.record("%v has lost the answer to COMMIT of %d", tx.writer, tx.id.Sequence)
	default:
		s.settle(tx)
	}
}

func (s *sim) cleared(p *process, id EventID) {
	i := slices.IndexFunc(p.writes, func(tx *transaction) bool { return tx.id == id })
	if i < 0 {
		return
	}
	tx := p.writes[i]
	tx.cleared = true
	s.Waited = max(s.Waited, s.now-max(tx.announced, s.calmFor(tx.server)))
	if s.story != nil {
		s.record("%v may commit %d", p, id.Sequence)
	}
	gap := s.delay()
	if s.chance(s.waits) {
		gap = s.between(0, 3*time.Second)
	}
	s.after(gap, p, func() { s.commit(tx) })
	s.point(p, heavy)
}

func (s *sim) commit(tx *transaction) {
	p := tx.writer
	if tx.over || !tx.isPending() {
		return
	}
	tx.inFlight = true
	if s.story != nil {
		s.record("%v sends COMMIT of %d", p, tx.id.Sequence)
	}
	if s.off == offSettle {
		p.m.Settle(s.clock(p), tx.id)
		s.act(p)
	}
	at := s.statementArrival(p, tx.server)
	if s.chance(s.waits) {
		at += s.between(0, 2500*time.Millisecond)
	}
	if s.chance(s.fails) {
		s.after(s.delay(), p, func() { s.connectionLost(tx) })
	}
	s.at(at, nil, func() { s.takeEffect(tx) })
	s.point(p, heavy)
}

// takeEffect commits, unless there is a conflict, and sends the answer.
func (s *sim) takeEffect(tx *transaction) {
	if tx.over {
		return
	}
	if tx.server.down > s.now {
		s.at(tx.server.down+s.delay(), nil, func() { s.takeEffect(tx) })
		return
	}
	if !s.chance(s.fails) {
		s.Commits++
		for _, key := range tx.keys {
			s.value++
			s.history[key] = append(s.history[key], committed{at: s.now, value: s.value})
			tx.values = append(tx.values, s.value)
			if s.story != nil {
				s.record("%d of %v is committed: key %d is %d", tx.id.Sequence, tx.writer, key, s.value)
			}
		}
	}
	s.end(tx)
	p, session := tx.writer, tx.server.session
	at := s.answerArrival(p, tx.server)
	if s.chance(s.waits) {
		at += s.between(0, 2500*time.Millisecond)
	}
	s.at(at, p, func() {
		s.then(p, func() {
			if tx.server.session != session {
				s.connectionLost(tx)
			} else if tx.isPending() {
				s.settle(tx)
			}
		})
	})
	s.readEverywhere(tx.keys)
}

// settle is for a COMMIT that was answered, or is never sent.
func (s *sim) settle(tx *transaction) {
	p := tx.writer
	tx.forget()
	if s.story != nil {
		s.record("%v settles %d", p, tx.id.Sequence)
	}
	pushable := p.m.Settle(s.clock(p), tx.id)
	for i, value := range tx.values {
		s.push(p, tx.keys[i], value, pushable)
	}
	s.act(p)
	s.point(p, heavy)
}

// push gives a value that was written to the key's owner, under the version after the settlement (R8).
func (s *sim) push(p *process, key, value int, pushable []uint32) {
	version, settled := p.m.table.Version(s.bucket(key))
	if s.off == offContended {
		version, settled, pushable = s.settledVersion(p, key), true, []uint32{s.bucket(key)}
	}
	if s.clock(p) >= s.deadline(p, key) {
		return // its database does not answer
	}
	if owner := s.owner(p, key); settled && slices.Contains(pushable, s.bucket(key)) {
		s.Pushes++
		s.at(s.arrival(p.place.number, owner.place.number), owner, func() { owner.store[versionedKey{key, version}] = value })
	}
}

// end ends a transaction in the database.
func (s *sim) end(tx *transaction) {
	tx.over = true
	s.open = slices.DeleteFunc(s.open, func(o *transaction) bool { return o == tx })
	for _, key := range tx.keys {
		if s.locks[key] == tx {
			s.locks[key] = nil
		}
	}
}

// abortAll ends the transactions of a process that has died, except those whose COMMIT is on its way. The
// database learns late that a host was lost.
func (s *sim) abortAll(p *process, hostLost bool) {
	for _, tx := range s.open {
		if tx.writer == p && !tx.inFlight {
			delay := s.delay()
			if hostLost {
				delay = s.between(0, 3*time.Second)
			}
			s.after(delay, nil, func() { s.end(tx) })
		}
	}
}

// checkCommits checks that without faults no transaction waits for long before COMMIT.
func (s *sim) checkCommits(p *process) {
	for _, tx := range p.writes {
		if since := max(tx.announced, s.calmFor(tx.server)); !tx.cleared && s.now > since+maxCommit {
			s.wrong("%v waits to commit %d since %v", p, tx.id.Sequence, since)
		}
	}
}
