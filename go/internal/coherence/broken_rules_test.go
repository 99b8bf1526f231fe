package coherence

import (
	"math"
	"slices"
)

// breakRule switches a rule off at a machine, after each input.
func (s *sim) breakRule(p *process) {
	m, now := p.m, s.clock(p)
	switch s.off {
	case offAcks:
		for _, o := range m.events.uncleared {
			for peer := range o.own.needs {
				o.own.needs[peer] = 0
			}
		}
		m.clearReady(now)
	case offOutwait:
		for _, q := range m.members.order {
			q.outSince = math.MinInt64 / 2
		}
		m.clearReady(now)
	case offWfresh:
		asked := m.view.asked
		m.view.asked = now
		m.clearReady(now)
		m.view.asked = asked
	case offOwnrow:
		listed := m.view.listed
		m.view.listed = true
		m.clearReady(now)
		m.view.listed = listed
	case offLeft:
		if m.join.phase == left {
			m.join.phase = joined
			m.clearReady(now)
			m.join.phase = left
		}
	case offJoinwait:
		if m.join.phase == awaitingAcks {
			m.join.beginCopy(now)
		}
	case offLackjoin:
		if m.join.phase == awaitingAcks && m.join.asking && len(m.join.awaited) == 0 {
			m.join.beginCopy(now)
		}
	case offServing:
		if n := len(m.members.order); m.join.phase == copying && n > 0 && s.chance(100) {
			other := m.members.order[s.below(n)].row.Incarnation
			m.join.copyRequests[other] = struct{}{}
			m.out.send(other, &Message{Kind: CopyRequest, Attempt: m.join.attempt})
		}
	case offOrder:
		s.forgetVanished(p)
	case offCarried:
		if m.join.phase == entering && m.join.phase != p.before {
			for _, o := range m.events.open {
				o.allTouched = m.events.doubt.allTouched
			}
		}
		p.before = m.join.phase
	}
}

// forgetVanished drops members that have no row in the last view: that they count as out for a lease makes up
// for a view that is older than the one before.
func (s *sim) forgetVanished(p *process) {
	for _, q := range slices.Clone(p.m.members.order) {
		if q.row.Reason == rowGone {
			p.m.dropLog(q)
			p.m.members.drop(q)
		}
	}
	p.m.clearReady(s.clock(p))
}

// breakMessage returns what a process receives instead of a message.
func (s *sim) breakMessage(p, from *process, message *Message) *Message {
	switch {
	case s.off == offConfirm && message.Kind == JoinRequest:
		s.send(p, from, &Message{Kind: JoinAck, Attempt: message.Attempt})
	case s.off == offServing && message.Kind == CopyRequest && !p.m.Serves(s.clock(p)):
		s.send(p, from, &Message{Kind: Copy, Attempt: message.Attempt, State: p.m.snapshot()})
	case s.off == offCopy && message.Kind == Copy:
		bare := *message.State
		bare.Open = nil
		return &Message{Kind: Copy, Attempt: message.Attempt, State: &bare}
	case (s.off == offListed || s.off == offHeld || s.off == offHolds) && message.Kind == Copy:
		return s.copyHolds(p, message)
	case s.off == offRelayed && message.Kind == Outside:
		return namingNothing(message)
	case s.off == offBumped && message.Kind == Copy:
		bare := *message.State
		bare.Bumped = nil
		return &Message{Kind: Copy, Attempt: message.Attempt, State: &bare}
	case s.off == offTable && message.Kind == Copy:
		bare := *message.State
		bare.Buckets = nil
		return &Message{Kind: Copy, Attempt: message.Attempt, State: &bare}
	}
	return message
}

// breakEntries takes entries of another process's log without a rule, and reports whether that is all.
func (s *sim) breakEntries(p *process, from Incarnation, message *Message) bool {
	if message.Kind != Events || s.off != offWriter && s.off != offAnnounced {
		return false
	}
	m, now := p.m, s.clock(p)
	if message.Sequence > m.writers.heard[from] {
		return true
	}
	for _, e := range message.Entries {
		if e.Number <= m.writers.heard[from] || e.Event.ID.Sequence == 0 || e.Event.ID.Sequence >= maxSequence {
			continue
		}
		m.writers.heard[from] = e.Number
		o := m.events.open[e.Event.ID]
		if s.off == offAnnounced && e.Settled && o != nil && o.own == nil {
			m.events.doubt.end(o)
			o.event = e.Event
		}
		if s.off == offWriter || e.Event.ID.Writer == from {
			m.learn(now, e.Event.ID.Writer, e)
		}
	}
	m.out.send(from, &Message{Kind: Ack, Sequence: m.writers.heard[from]})
	return true
}

// breakRead returns what a reader takes for deadline and version.
func (s *sim) breakRead(p *process, key int, deadline Time, version uint64, settled bool) (Time, uint64, bool) {
	switch s.off {
	case offDoubt:
		return deadline, s.settledVersion(p, key), true
	case offFresh:
		return math.MaxInt64, version, settled
	}
	return deadline, version, settled
}

// settledVersion returns a version without its mark of doubt.
func (s *sim) settledVersion(p *process, key int) uint64 {
	t := p.m.table
	return t.settledWord(wordEpoch) + t.settledWord(TableHeader+int(s.bucket(key)))
}

// nonce returns what a machine draws.
func (s *sim) nonce(p *process) uint64 {
	if s.off == offEpoch && s.booting {
		return 2
	}
	return s.random.Uint64()
}

// rowsMissing reports to a machine what its next view lacks.
func (s *sim) rowsMissing(p *process, asked Time, rows int, counting uint64) {
	m, before := p.m, p.m.view.missing
	if s.off == offMissing {
		return
	}
	m.Missing(s.clock(p), asked, rows, counting)
	if s.off == offMore && before.rows > 0 && m.view.missing.rows > 0 {
		m.view.missing.since = before.since
	}
}

// viewTaken gives a machine the view that it has asked for.
func (s *sim) viewTaken(p *process, asked Time, rows []Row, err error) {
	m := p.m
	if s.off == offEmpty && s.chance(250) {
		rows = []Row{{Incarnation: p.id, Address: p.place.address, State: In}}
	}
	if s.off == offBetween {
		s.viewTakenBetween(p, asked, rows, err)
		return
	}
	m.ViewTaken(s.clock(p), asked, rows, err)
	if s.off >= offEverybody && err == nil {
		s.breakNotes(p, rows)
	}
	if s.off == offOrder && err == nil && s.chance(250) {
		s.after(s.between(0, simLease/2), p, func() {
			m.ViewTaken(s.clock(p), m.view.asked, rows, nil)
			s.act(p)
		})
	}
}

// viewTakenBetween gives it a view after which the members that are out count as out since they first were.
func (s *sim) viewTakenBetween(p *process, asked Time, rows []Row, err error) {
	m, since := p.m, make(map[*member]Time)
	for _, q := range m.members.order {
		if q.row.State == Out {
			since[q] = q.outSince
		}
	}
	m.ViewTaken(s.clock(p), asked, rows, err)
	for _, q := range m.members.order {
		if t, out := since[q]; out && q.row.State == Out {
			q.outSince = t
		}
	}
	m.clearReady(s.clock(p))
}

// posted reports to a machine that its row was written as joining.
func (s *sim) posted(p *process, err error) {
	if s.off == offKeep { // it drops what it has acknowledged
		p.m.events.backlog = newBacklog()
		for _, o := range p.m.events.open {
			if o.own == nil {
				p.m.events.close(o)
			}
		}
	}
	p.m.Posted(s.clock(p), err)
}

// elected reports to a machine whether it is elected.
func (s *sim) elected(p *process, won bool, open []string, err error) {
	if s.off == offBdrain {
		open = nil
	}
	p.m.Elected(s.clock(p), won, open, err)
}

// openAnswer gives a machine the names of open transactions.
func (s *sim) openAnswer(p *process, database string, open []string, err error) {
	now := s.clock(p)
	switch {
	case s.off == offDrain && database != "" || s.off == offBdrain && database == "":
		open = nil
	case s.off == offLate && database != "":
		p.m.orphans.asked[database] = now
	}
	s.booting = database == ""
	p.m.OpenTransactions(now, database, open, err)
	s.booting = false
}
