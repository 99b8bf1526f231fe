package coherence

// MessageKind tells messages apart.
type MessageKind uint8

const (
	// Events carries entries of the sender's log for the receiver.
	Events MessageKind = iota + 1
	// Ack acknowledges every entry of the receiver's log up to Sequence.
	Ack
	// JoinRequest asks the receiver to confirm that it counts the sender as a member (R5).
	JoinRequest
	// JoinAck confirms that.
	JoinAck
	// CopyRequest asks a member that serves for its state (R5).
	CopyRequest
	// Copy is that state.
	Copy
	// Digest says what the sender has settled; Repair answers with what the sender lacks.
	Digest
	Repair
	// Bye says that the sender serves and writes nothing any more.
	Bye
	// Probe asks whether messages go both ways; Alive is the answer.
	Probe
	Alive
	// Outside carries notes of databases that the receiver may not look at (R14): a note's id is the
	// sequence of an event without a writer.
	Outside
)

// Message is what one machine sends to another.
type Message struct {
	Kind MessageKind
	// Sequence is, for Events, the number of the entry before the first of Entries, 0 where the log begins
	// anew; for Ack, the last one acknowledged; for Digest, the digest of the table.
	Sequence uint64
	Entries  []Entry
	// Attempt tells a joiner's attempts apart, so that a late answer to an earlier one is not taken for
	// the present (JoinRequest, JoinAck, CopyRequest, Copy, Probe, Alive); for Digest, 1 wants the
	// receiver's digest in return.
	Attempt uint64
	State   *Snapshot // Copy; Digest: only Settled, Applied, and the ids of Open that a database is asked about
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
	// Bumped are open too, but epoch and buckets hold their nonces: another process than their writer has
	// said that they are over, and no database that the sender serves could confirm it.
	Bumped  []Event
	Settled map[Incarnation]SettledBy
	Recent  []Event     // the last settled ones, so that the joiner can repair others
	Applied []OutsideID // notes that epoch and buckets hold (R14), in order
	// Relayed are those of Applied that no look of the sender has shown: another member has relayed them.
	// The sequence is the note's id.
	Relayed []Event
}

// SettledBy is which events of one writer are settled: all up to Through, and those of Above. Of those up
// to Skipped only what is open is known.
type SettledBy struct {
	Through uint64
	Skipped uint64
	Above   []uint64
}
