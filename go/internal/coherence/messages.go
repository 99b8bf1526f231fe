package coherence

// Kind tells messages apart.
type Kind uint8

const (
	// Events carries entries of the sender's log for the receiver.
	Events Kind = iota + 1
	// Ack acknowledges every entry of the receiver's log up to Sequence.
	Ack
	// Ask asks for the receiver's word that it counts the sender in (R5).
	Ask
	// Word is that word.
	Word
	// CopyRequest asks one in standing for its state (R5).
	CopyRequest
	// Copy is that state.
	Copy
	// Compare tells what the sender has settled; Level answers with what it lacks.
	Compare
	Level
	// Bye tells that the sender serves and writes nothing any more.
	Bye
	// Probe asks whether messages go both ways; Alive is the answer.
	Probe
	Alive
	// Outside carries notes of databases that the receiver may not look at (R14): the id is
	// the sequence of an event without a writer.
	Outside
)

// Message is what one machine says to another.
type Message struct {
	Kind Kind
	// Sequence is the number of the entry before the first of Entries, 0 where the log
	// begins anew (Events); the last one acknowledged (Ack); the digest of the table
	// (Compare).
	Sequence uint64
	Entries  []Entry
	// Attempt tells a joiner's tries apart, so that a late answer to an earlier one is
	// not taken for the present (Ask, Word, CopyRequest, Copy, Probe, Alive); 1 asks for the receiver's
	// list in return (Compare).
	Attempt uint64
	State   *Snapshot // Copy; only Settled and Applied of it: Compare
}

// Entry of a log: an event that is announced, or settled.
type Entry struct {
	Number  uint64
	Event   Event
	Settled bool
}

// Snapshot is what a joiner copies.
type Snapshot struct {
	Epoch   uint64
	Buckets map[uint32]uint64
	Open    []Event
	Settled map[Incarnation]SettledBy
	Recent  []Event     // the last settled ones, so that the joiner can level others
	Applied []OutsideID // notes that epoch and buckets hold (R14), in order
}

// SettledBy is which events of one writer are settled: all up to Through, and those of Above.
type SettledBy struct {
	Through uint64
	Above   []uint64
}

// Receive takes a message of another process.
func (m *Machine) Receive(now Time, from Incarnation, message *Message) {
	p := m.members[from]
	if p == nil {
		// Nobody commits before its own row is in a reading, but the others may not have
		// read it yet: what it says now must not be lost.
		p = m.addMember(Row{Incarnation: from, State: Joining})
		m.read()
	}
	switch message.Kind {
	case Events:
		m.hear(now, from, message)
	case Ack:
		p.log.acknowledged(message.Sequence)
		m.tryAll(now)
	case Ask:
		m.wasAsked(now, from, message.Attempt)
	case Word:
		m.gotWord(now, from, message.Attempt)
	case CopyRequest:
		if m.Serves(now) {
			m.send(from, &Message{Kind: Copy, Attempt: message.Attempt, State: m.snapshot()})
		}
	case Copy:
		m.copied(now, message)
	case Compare:
		m.compared(from, message)
	case Level:
		m.levelled(message)
	case Bye:
		m.gone(now, from, saidBye)
	case Probe:
		m.send(from, &Message{Kind: Alive, Attempt: message.Attempt})
	case Outside:
		m.toldOutside(now, message)
	case Alive:
		p.answered = max(p.answered, message.Attempt)
		m.advance(now)
	}
}
