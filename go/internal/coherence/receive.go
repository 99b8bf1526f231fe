package coherence

// A session proves whose it is, so nobody speaks for another (R17): an event is announced, and its
// settlement believed, only where its writer says so itself. What another one says of it is a hint at
// most, and the database decides. Whoever has the cluster's secret may still say what it likes of
// itself: every list and counter that a peer can make grow has a bound (bounds.go), and what no
// honest peer says ends the session.

// Receive takes a message of another process. With an error nothing has changed: no honest peer
// says this, and the session is to be closed.
func (m *Machine) Receive(now Time, from Incarnation, message *Message) error {
	if err := m.check(from, message); err != nil {
		return err
	}
	p := m.members[from]
	if p == nil {
		m.peek(now) // it may just have got a row
	}
	switch message.Kind {
	case Events:
		return m.hear(now, from, message)
	case JoinRequest:
		m.wasAsked(now, from, message.Attempt)
	case JoinAck:
		m.gotWord(now, from, message.Attempt)
	case Copy:
		m.copied(now, message)
	case Probe:
		m.send(from, &Message{Kind: Alive, Attempt: message.Attempt})
	}
	if p != nil {
		m.receiveOfMember(now, p, message)
	}
	return nil
}

// receiveOfMember is for what counts only where its sender has a row.
func (m *Machine) receiveOfMember(now Time, p *member, message *Message) {
	switch message.Kind {
	case Ack:
		if p.log.acknowledged(message.Sequence) {
			m.tryAll(now)
		}
	case CopyRequest:
		m.copyFor(now, p, message.Attempt)
	case Digest:
		m.compared(now, p, message)
	case Repair:
		m.levelled(now, p, message)
	case Bye:
		m.saysBye(now, p)
	case Outside:
		m.toldOutside(now, p, message)
	case Alive:
		p.answered = max(p.answered, message.Attempt)
		m.advance(now)
	}
}

// check returns an error for what no honest peer says, whatever this process knows of events.
func (m *Machine) check(from Incarnation, message *Message) error {
	switch message.Kind {
	case Events, Repair, Outside:
		return m.checkEntries(message)
	case Ack:
		if message.Sequence > m.number {
			return violation("entry %d of a log is acknowledged, and the last that was sent is %d", message.Sequence, m.number)
		}
	case JoinAck, Alive, Copy:
		if message.Attempt > m.attempt {
			return violation("try %d is answered, and the last one is %d", message.Attempt, m.attempt)
		}
		if _, asked := m.sourcesAsked[from]; message.Kind == Copy && message.Attempt == m.attempt && !asked {
			return violation("a copy comes that was not asked for")
		}
	}
	return nil
}

func (m *Machine) checkEntries(message *Message) error {
	if n := len(message.Entries); n > entriesInMessage {
		return violation("a message has %d entries, at most %d are allowed", n, entriesInMessage)
	}
	for i := range message.Entries {
		e := &message.Entries[i]
		switch {
		case message.Kind == Outside && (e.Settled || e.Event.ID.Writer != 0):
			return violation("a note of an outside write has a writer, or is settled")
		case message.Kind == Repair && !e.Settled:
			return violation("an event that is not settled is told to level")
		case message.Kind != Outside && (e.Event.ID.Sequence == 0 || e.Event.ID.Sequence >= maxSequence):
			return violation("an event has the number %d", e.Event.ID.Sequence)
		case message.Kind != Outside && e.Event.Database == "":
			return violation("the event %d names no database: only a process alone has such", e.Event.ID.Sequence)
		}
	}
	return nil
}

// peek asks for a view because of what a peer has said, which may say it at any time: so not more
// often than a joiner asks for one.
func (m *Machine) peek(now Time) {
	if at := m.peeked.Add(m.cfg.Lease / 60); m.peeked > 0 && now < at {
		m.next = min(m.next, at)
		return
	}
	m.peeked = now
	m.read()
}

// hear takes entries of another one's log, each once and in order. After a gap nothing is
// taken, nor acknowledged: the writer sends it all again over the next connection.
func (m *Machine) hear(now Time, from Incarnation, message *Message) error {
	if message.Sequence > m.heard[from] {
		return nil
	}
	var entries []Entry
	last := m.heard[from]
	for _, e := range message.Entries {
		if e.Number > last {
			last = e.Number
			entries = append(entries, e)
		}
	}
	if err := m.checkLog(from, entries); err != nil {
		return err
	}
	if err := m.makeRoomFor(now, from); err != nil {
		return err
	}
	for _, e := range entries {
		m.learn(now, from, e)
	}
	m.heard[from] = last // not before: what a panic has kept from being learned is sent again
	m.send(from, &Message{Kind: Ack, Sequence: last})
	return nil
}

// checkLog returns an error if the entries cannot all be taken.
func (m *Machine) checkLog(from Incarnation, entries []Entry) error {
	announced, settled := make(map[EventID]*Event), make(map[EventID]bool)
	var more load
	for i := range entries {
		e := &entries[i].Event
		if !entries[i].Settled && e.ID.Writer != from {
			return violation("the event %d of another writer is announced", e.ID.Sequence)
		}
		if e.ID.Writer != from {
			continue
		}
		known := announced[e.ID]
		if known == nil {
			known = m.announcedHere(e.ID)
		}
		if known != nil && !known.equal(e) {
			return violation("the event %d is another one than was announced", e.ID.Sequence)
		}
		switch {
		case known == nil && !entries[i].Settled:
			announced[e.ID] = e
			more.add(e)
		case known != nil && entries[i].Settled && !settled[e.ID]:
			settled[e.ID] = true
			more.remove(e)
		}
	}
	if len(announced) == 0 {
		return nil
	}
	return m.room(from, more)
}

// announcedHere returns an event that is open, or that a joiner was told of.
func (m *Machine) announcedHere(id EventID) *Event {
	if o := m.open[id]; o != nil {
		return &o.event
	}
	if e, known := m.told.open[id]; known {
		return &e
	}
	return nil
}

// learn takes an entry of another one's log.
func (m *Machine) learn(now Time, from Incarnation, e Entry) {
	switch {
	case e.Settled && e.Event.ID.Writer == from:
		m.settleAsWriter(e.Event)
	case e.Settled:
		m.hint(e.Event.ID)
	case m.hasState():
		m.counts.Acknowledged++
		m.openEvent(now, e.Event)
	default:
		m.counts.Acknowledged++
		m.told.announced(e.Event)
	}
}
