package coherence

import (
	"slices"
	"time"
)

// Incarnation is the random id of one run of one process; never 0.
type Incarnation uint64

// Time is what the process's clock shows, in nanoseconds. The clock is monotonic and counts while the
// machine is suspended. Only differences between two times of one process mean something.
type Time int64

// Add returns the time d later.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// EventID identifies an event: its writer, and the writer's count of its own events.
type EventID struct {
	Writer   Incarnation
	Sequence uint64
}

// Event is what one database transaction of one writer may change. Its nonce is random and even: random,
// so that a version never comes back; even, because the table shows a bucket in doubt as an odd number.
type Event struct {
	ID       EventID
	Nonce    uint64
	Database string   // id of the database whose transaction this is (R6 asks it)
	All      bool     // every bucket: the nonce goes to the epoch
	Buckets  []uint32 // distinct; empty when All
}

func (e *Event) equal(f *Event) bool {
	return e.ID == f.ID && e.Nonce == f.Nonce && e.Database == f.Database && e.All == f.All &&
		slices.Equal(e.Buckets, f.Buckets)
}

// State is what the members table says of a process.
type State uint8

const (
	// Joining: it must be announced to and serves nothing.
	Joining State = iota + 1
	// Boot: it is joining, and elected to begin with a new epoch (R7).
	Boot
	// In: it may serve from the cache.
	In
	// Out: it serves nothing and needs no announcement once a lease has passed.
	Out
)

// String returns the state as the members table spells it.
func (s State) String() string {
	return [...]string{"none", "joining", "boot", "in", "out"}[min(int(s), 4)]
}

// UnmarshalText is the inverse of [State.String]; anything else becomes 0.
func (s *State) UnmarshalText(text []byte) error {
	*s = 0
	for known := Joining; known <= Out; known++ {
		if known.String() == string(text) {
			*s = known
		}
	}
	return nil
}

// Row is one process in the members table, with the names that its fields have in the JSON of a view. A
// process with an empty address is a client: it owns no keys and cannot be dialled.
type Row struct {
	Incarnation Incarnation `json:"incarnation"`
	Address     string      `json:"address"`
	State       State       `json:"state"`
	// Host is the system on which it can be proved that the process has ended; the machine only hands it
	// on. "": nowhere.
	Host string `json:"host"`
	// Reason says why it is out, and which process has marked it out.
	Reason string `json:"reason"`
	// Overdue: its heartbeat is overdue.
	Overdue bool `json:"overdue"`
	// Applied is which notes of writes from outside it says it has applied (R14).
	Applied []OutsideID `json:"applied"`
}

// equal reports whether two rows say the same of a process, notes aside.
func (r *Row) equal(s *Row) bool {
	return r.Incarnation == s.Incarnation && r.Address == s.Address && r.State == s.State &&
		r.Host == s.Host && r.Reason == s.Reason && r.Overdue == s.Overdue
}

// Config says which process this is and how long it waits.
type Config struct {
	Incarnation Incarnation
	Address     string // empty: a client
	// Alone is a process without peers: it always serves, and announces to no other process.
	Alone bool
	// Lease is for how long a view of the members table lets a process serve (R2).
	Lease time.Duration
	// AckTimeout is how long a member may take to acknowledge before it is marked out (R3).
	AckTimeout time.Duration
	// OrphanAfter is how long an event of another writer may stay open before the database is asked
	// whether it is over (R6).
	OrphanAfter time.Duration
	// Random returns 64 random bits, for nonces and epochs. Versioned keys are unique because it is good.
	Random func() uint64
}

// outlastLease returns the time by which a lease has passed on anyone's clock.
func (c *Config) outlastLease() time.Duration { return time.Duration(float64(c.Lease) * outlast) }

// nonce returns random bits that never show doubt and are never 0.
func (c *Config) nonce() uint64 {
	for {
		if n := c.Random() &^ 1; n != 0 {
			return n
		}
	}
}

const (
	// drift is by how much a clock may run fast or slow; a process that waits for another's lease waits
	// longer by outlast.
	drift   = 0.02
	outlast = (1 + drift) / (1 - drift)

	// retry is the pause between two tries of a step of joining.
	retry = 300 * time.Millisecond
	// patience is after how many tries a joiner marks out a member that gives no copy.
	patience = 6
	// minPause and maxPause bound the pause, in leases, before a process that was put out tries to join
	// again though not every member that is alive answers it.
	minPause = 2
	maxPause = 8
	// minCopyPause and maxCopyPause bound the pause, in leases, before a process copies anew because its
	// versions differ again.
	minCopyPause = 2
	maxCopyPause = 4
	// maxLog bounds the entries kept for one member that does not acknowledge.
	maxLog = 1 << 16
)

// Action is what the machine asks its caller to do. Which fields go with a kind is said beside them.
type Action struct {
	Kind      ActionKind
	To        Incarnation // Send, MarkOut
	Message   *Message    // Send
	Event     EventID     // Cleared
	Database  string      // OpenTransactions
	Text      string      // Log; MarkOut: the reason
	IfOverdue bool        // MarkOut: only if To's heartbeat is overdue
	Missing   int         // WriteOff: by how many rows
	Counting  uint64      // WriteOff: which count
	Outside   []OutsideID // AcknowledgeOutside, ForgetOutside: in order
	Number    int         // ForgetOutside: of the database
}

// ActionKind is what an action asks for.
type ActionKind uint8

const (
	// Send asks to send Message to To, if there is a connection; it may be lost.
	Send ActionKind = iota + 1
	// Cleared says that COMMIT may be sent for Event (R3).
	Cleared
	// TakeView asks for a view of the members table: answer with [Machine.ViewTaken].
	TakeView
	// Post asks to write this process's row as joining: answer with [Machine.Posted].
	Post
	// Elect asks for the conditional update of R7: answer with [Machine.Elected].
	Elect
	// Enter asks to turn this process's row to in: answer with [Machine.Entered].
	Enter
	// MarkOut asks to turn To's row to out; no answer.
	MarkOut
	// Remove asks to delete this process's row; no answer.
	Remove
	// OpenTransactions asks which writing transactions are open in Database: answer with
	// [Machine.OpenTransactions].
	OpenTransactions
	// WriteOff asks to lower the count of rows that there should be by Missing, if it is still the count
	// Counting; no answer. See [Machine.Missing].
	WriteOff
	// AcknowledgeOutside asks to have this process's row say that the notes Outside, and no others, are applied
	// here, if the row is in; no answer.
	AcknowledgeOutside
	// ForgetOutside asks to delete the notes Outside in the database Number; no answer.
	ForgetOutside
	// Members says that the members, their states or addresses have changed: see [Machine.Rows].
	Members
	// Log asks to write a line to the operator's log: a change of state.
	Log
)
