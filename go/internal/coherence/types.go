package coherence

import "time"

// Incarnation is the random id of one run of one process; never 0.
type Incarnation uint64

// Time is a reading of the process's clock in nanoseconds: monotonic, and counting while the
// machine is suspended. Only differences of readings of one process mean something.
type Time int64

// Add returns the reading d later.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// EventID names an event: its writer, and the writer's count of its own events.
type EventID struct {
	Writer   Incarnation
	Sequence uint64
}

// Event is what one database transaction of one writer may change. Its nonce is random and
// even: random, so that a version never comes back; even, because the table shows a bucket
// in doubt as an odd number.
type Event struct {
	ID       EventID
	Nonce    uint64
	Database string   // id of the database whose transaction this is (R6 asks it)
	All      bool     // every bucket: the nonce goes to the epoch
	Buckets  []uint32 // distinct; empty when All
}

// State is what the members table says of a process.
type State uint8

const (
	// Joining must be announced to and serves nothing.
	Joining State = iota + 1
	// Boot is a joiner elected to begin with a new epoch (R7).
	Boot
	// In may serve from the cache.
	In
	// Out serves nothing and needs no announcement once a lease has passed.
	Out
)

// String returns the state as the members table spells it.
func (s State) String() string {
	return [...]string{"none", "joining", "boot", "in", "out"}[min(int(s), 4)]
}

// ParseState is the inverse of [State.String]; it returns 0 for an unknown word.
func ParseState(word string) State {
	for s := Joining; s <= Out; s++ {
		if s.String() == word {
			return s
		}
	}
	return 0
}

// Row is one process in the members table. An empty address is a client: it owns no keys
// and cannot be dialled.
type Row struct {
	Incarnation Incarnation
	Address     string
	State       State
	// Host is the system on which it can be proved that the process has ended; the machine only
	// hands it on. "": nowhere.
	Host string
	// Reason tells why it is out, and by whom.
	Reason string
	// Overdue: the database has not heard of it for a while.
	Overdue bool
	// Applied is which notes of writes from outside it says to have applied (R14).
	Applied []OutsideID
}

// equal tells whether two rows say the same of a process, but for the notes.
func (r *Row) equal(s *Row) bool {
	return r.Incarnation == s.Incarnation && r.Address == s.Address && r.State == s.State &&
		r.Host == s.Host && r.Reason == s.Reason && r.Overdue == s.Overdue
}

// Config says who the process is and how long it waits.
type Config struct {
	Incarnation Incarnation
	Address     string // empty: a client
	// Alone is a process without peers: always in standing, nobody to announce to.
	Alone bool
	// Lease is for how long a reading of the members table lets a process serve (R2).
	Lease time.Duration
	// AckTimeout is how long a member may take to acknowledge before it is marked out (R3).
	AckTimeout time.Duration
	// OrphanAfter is how long an event of another writer may stay open before the
	// database is asked whether it is over (R6).
	OrphanAfter time.Duration
	// Random returns 64 random bits: nonces and epochs. Names are unique because it is good.
	Random func() uint64
}

const (
	// drift is by how much a clock may run fast or slow; who waits for another's lease
	// waits longer by outlast.
	drift   = 0.02
	outlast = (1 + drift) / (1 - drift)

	// retry is the pause between two tries of a step of joining.
	retry = 300 * time.Millisecond
	// patience is after how many tries a joiner marks out one from whom no copy comes.
	patience = 6
	// minPause and maxPause bound the pause before one that was put out tries to join again
	// though it does not reach everybody who is alive, in leases.
	minPause = 2
	maxPause = 8
	// minAnew and maxAnew bound the pause before one copies anew because its versions differ again.
	minAnew = 2
	maxAnew = 4
	// maxLog bounds the entries kept for one member that does not acknowledge, and those
	// kept by a joiner until it has its copy.
	maxLog = 1 << 16
)

// Action is what the machine asks its owner to do. Exactly one of the pointer fields, or
// none, goes with a kind; see the kinds.
type Action struct {
	Kind      ActionKind
	To        Incarnation // Send, MarkOut
	Message   *Message    // Send
	Event     EventID     // Passed
	Database  string      // OpenTransactions
	Text      string      // Note; MarkOut: the reason
	IfOverdue bool        // MarkOut: only if the database has not heard of To for a while
	Missing   int         // WriteOff: by how many rows
	Counting  uint64      // WriteOff: which count
	Outside   []OutsideID // AcknowledgeOutside, ForgetOutside: in order
	Number    int         // ForgetOutside: of the database
}

// ActionKind tells what an action asks for.
type ActionKind uint8

const (
	// Send asks to send Message to To, if there is a connection; it may be lost.
	Send ActionKind = iota + 1
	// Cleared tells that COMMIT may be sent for Event (R3).
	Cleared
	// TakeView asks for a reading of the members table: answer with [Machine.Reading].
	TakeView
	// Post asks to write the own row as joining: answer with [Machine.Posted].
	Post
	// Elect asks for the conditional update of R7: answer with [Machine.Elected].
	Elect
	// Enter asks to turn the own row to in: answer with [Machine.Entered].
	Enter
	// MarkOut asks to turn To's row to out; no answer.
	MarkOut
	// Remove asks to delete the own row; no answer.
	Remove
	// OpenTransactions asks which writing transactions are open in Database: answer with
	// [Machine.OpenTransactions].
	OpenTransactions
	// WriteOff asks to lower the count of rows that ought to be there by Missing, if it is
	// still the count Counting; no answer. See [Machine.Missing].
	WriteOff
	// AcknowledgeOutside asks to have the own row say that the notes Outside, and no others, are
	// applied here, if it is in; no answer.
	AcknowledgeOutside
	// ForgetOutside asks to delete the notes Outside in the database Number; no answer.
	ForgetOutside
	// Members tells that the members, their states or addresses have changed: see
	// [Machine.Rows].
	Members
	// Log is a change of state that an operator wants in the log.
	Log
)
