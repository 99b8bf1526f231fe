package coherence

// A session proves whose it is, so no process speaks for another (R17): an event is announced, and its
// settlement believed, only where its writer says so itself. A settlement that another process
// sends is a hint at most, and the database decides. A process that has the cluster's secret may still say whatever it likes
// of itself: every list and counter that a peer can make grow has a bound (bounds.go), and what no honest
// peer says ends the session.

// Receive takes a message of another process. With an error nothing has changed: no honest peer says this,
// and the caller must close the session.
func (m *Machine) Receive(now Time, from Incarnation, message *Message) error {
	if err := m.check(from, message); err != nil {
		return err
	}
	p := m.members.byID[from]
	if p == nil {
		m.view.nudge(now) // it may just have got a row
	}
	switch message.Kind {
	case Events:
		return m.hear(now, from, message)
	case JoinRequest:
		m.view.requested(now, from, message.Attempt)
	case JoinAck:
		m.join.ackReceived(now, from, message.Attempt)
	case Copy:
		m.copyReceived(now, message)
	case Probe:
		m.out.send(from, &Message{Kind: Alive, Attempt: message.Attempt})
	}
	if p != nil {
		m.receiveFromMember(now, p, message)
	}
	return nil
}

// receiveFromMember takes what counts only if its sender has a row.
func (m *Machine) receiveFromMember(now Time, p *member, message *Message) {
	switch message.Kind {
	case Ack:
		if p.log.acknowledged(message.Sequence) {
			m.clearReady(now)
		}
	case CopyRequest:
		m.giveCopy(now, p, message.Attempt)
	case Digest:
		m.digestReceived(now, p, message)
	case Repair:
		if m.join.phase == joined && p.isIn() {
			for _, e := range message.Entries {
				m.learn(now, p.row.Incarnation, e)
			}
		}
	case Bye:
		m.view.byeReceived(now, p)
	case Outside:
		m.relayedReceived(now, p, message)
	case Alive:
		p.answered = max(p.answered, message.Attempt)
		m.join.advance(now)
	}
}

// check returns an error for what no honest peer says, whatever this process knows of events.
func (m *Machine) check(from Incarnation, message *Message) error {
	switch message.Kind {
	case Events, Repair, Outside:
		return checkEntries(message)
	case Ack:
		if last := m.members.lastEntry; message.Sequence > last {
			return violation("entry %d of a log is acknowledged, and the last that was sent is %d", message.Sequence, last)
		}
	case JoinAck, Alive, Copy:
		if message.Attempt > m.join.attempt {
			return violation("attempt %d is answered, and the last one is %d", message.Attempt, m.join.attempt)
		}
		if _, asked := m.join.copyRequests[from]; message.Kind == Copy && message.Attempt == m.join.attempt && !asked {
			return violation("a copy comes that was not asked for")
		}
	}
	return nil
}

func checkEntries(message *Message) error {
	if n := len(message.Entries); n > entriesInMessage {
		return violation("a message has %d entries, at most %d are allowed", n, entriesInMessage)
	}
	for i := range message.Entries {
		e := &message.Entries[i]
		switch {
		case message.Kind == Outside && (e.Settled || e.Event.ID.Writer != 0):
			return violation("a note of an outside write has a writer, or is settled")
		case message.Kind == Repair && !e.Settled:
			return violation("a repair holds an event that is not settled")
		case message.Kind != Outside && (e.Event.ID.Sequence == 0 || e.Event.ID.Sequence >= maxSequence):
			return violation("an event has the number %d, from 1 to %d are allowed", e.Event.ID.Sequence, uint64(maxSequence-1))
		case message.Kind != Outside && e.Event.Database == "":
			return violation("the event %d names no database: only a process alone has such events", e.Event.ID.Sequence)
		}
	}
	return nil
}

// hear takes entries of another process's log, each once and in order. After a gap nothing is taken, nor
// acknowledged: the writer sends everything again over the next connection.
func (m *Machine) hear(now Time, from Incarnation, message *Message) error {
	last := m.writers.heard[from]
	if message.Sequence > last {
		return nil
	}
	var entries []Entry
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
	m.writers.heard[from] = last // not before: what a panic has kept from being learned is sent again
	m.out.send(from, &Message{Kind: Ack, Sequence: last})
	return nil
}

// checkLog returns an error if the entries cannot all be taken.
func (m *Machine) checkLog(from Incarnation, entries []Entry) error {
	announced, settled := make(map[EventID]*Event), make(map[EventID]bool)
	var more usage
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
			known = m.events.announced(e.ID)
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
	return m.checkRoom(from, more)
}

// learn takes an entry of another process's log.
func (m *Machine) learn(now Time, from Incarnation, e Entry) {
	ev := &m.events
	switch {
	case e.Settled && e.Event.ID.Writer == from:
		ev.settleByWriter(e.Event, m.join.hasCopy())
	case e.Settled:
		m.hint(e.Event.ID)
	case m.join.hasCopy():
		ev.counts.Acknowledged++
		ev.addUnknown(now, e.Event)
	default:
		ev.counts.Acknowledged++
		ev.backlog.announce(e.Event)
	}
}
