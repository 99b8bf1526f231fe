package coherence

// MessageKind tells messages apart.
type MessageKind uint8

const (
	// Events carries entries of the sender's log for the receiver.
	Events MessageKind = iota + 1
	// Ack acknowledges every entry of the receiver's log up to Sequence.
	Ack
	// JoinRequest asks for the receiver's word that it counts the sender in (R5).
	JoinRequest
	// JoinAck is that word.
	JoinAck
	// CopyRequest asks one in standing for its state (R5).
	CopyRequest
	// Copy is that state.
	Copy
	// Digest tells what the sender has settled; Level answers with what it lacks.
	Digest
	Repair
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
	Kind MessageKind
	// Sequence is the number of the entry before the first of Entries, 0 where the log
	// begins anew (Events); the last one acknowledged (Ack); the digest of the table
	// (Compare).
	Sequence uint64
	Entries  []Entry
	// Attempt tells a joiner's tries apart, so that a late answer to an earlier one is
	// not taken for the present (Ask, Word, CopyRequest, Copy, Probe, Alive); 1 asks for the receiver's
	// list in return (Compare).
	Attempt uint64
	State   *Snapshot // Copy; only Settled, Applied, and the ids of Open that a database is asked of: Compare
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
	// Bumped are open too, but epoch and buckets hold their nonces: another than their writer has
	// told that they are over, and no database that the sender serves could confirm it.
	Bumped  []Event
	Settled map[Incarnation]SettledBy
	Recent  []Event     // the last settled ones, so that the joiner can level others
	Applied []OutsideID // notes that epoch and buckets hold (R14), in order
	// Relayed are those of Applied that no look of the sender has shown: another member has told of
	// them. The sequence is the note's id.
	Relayed []Event
}

// SettledBy is which events of one writer are settled: all up to Through, and those of Above. Of
// those up to Skipped it is not known, but for what is open.
type SettledBy struct {
	Through uint64
	Skipped uint64
	Above   []uint64
}
