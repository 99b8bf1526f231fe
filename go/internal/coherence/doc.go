// Package coherence decides when a process may serve from its cache, and under which versioned keys.
//
// groupcache is read-only: a key means one value for ever. Objects change. So a value is kept under its key
// plus a version, a write moves every process on to a new version, and what is left to solve is that all
// processes learn of it in time. The order that does it is announce, commit, settle: before COMMIT is sent
// every member of the cluster has acknowledged the event; from then until the answer to COMMIT has come the
// buckets that the event may change are in doubt, and are read from the database; settling adds the event's
// nonce to their versions.
//
// The rules that comments name (R1 to R17) are those of docs/coherence.rst. states.md has the phases of a
// process and the states of its row.
//
// # The machine
//
// A [Machine] is a pure state machine. Messages of other processes, views of the members table, answers of
// the database and the time go in; actions come out. It has no goroutine, socket, file or clock of its own,
// so a simulation can drive a whole cluster of this very code through random schedules from one seed. It
// keeps nothing on disk: a process that starts again is a new one, with an incarnation of its own.
//
// A machine writes to a [Table], which any thread may read at any time without a lock.
//
// # Duties of the caller
//
// Make one machine per process with [New], from a [Config] with a random incarnation that no process had
// before, and a table of zeros. Then, under one lock:
//
//	machine.Receive(now(), from, message)      // or any other input
//	for _, action := range machine.Actions() {
//		carryOut(action)
//	}
//
// The inputs are:
//
//   - the time: [Machine.Tick], every 50 ms or more often;
//   - the peers: [Machine.Connected] when there is a session with a process, [Machine.Disconnected] when
//     the last one has ended, [Machine.Receive] for each message, [Machine.Refused] when a member does not
//     admit this process, [Machine.Ended] when it is proved that a process has ended;
//   - the answers to actions, see below;
//   - the databases: [Machine.AddDatabase] and [Machine.Serve] before any key of a database is served,
//     [Machine.ForgetLooks] and [Machine.Unserve] when none is served any more;
//   - this process's transactions: [Machine.Announce] after the last statement that writes and before COMMIT; then
//     [Machine.Settle], or [Machine.Lost] if the answer to COMMIT was lost;
//   - the end: [Machine.Leave], after which the machine serves nothing and clears nothing. Other inputs may
//     still come, and events that are open are still settled.
//
// # Prohibitions
//
// The caller must never:
//
//   - send COMMIT before [Cleared] has come for the event, or commit at all when Announce returns an error.
//   - forget an event: each is settled exactly once, however its transaction ends. One whose COMMIT was
//     sent is settled when the database has answered it, not before; if the answer was lost, call Lost.
//   - push a value that Settle has not returned as pushable, or that is not known to be committed (R8).
//   - call two methods of a machine at the same time. Only the table may be read meanwhile.
//   - pass a time that goes back. The clock is monotonic and counts while the system is suspended
//     (CLOCK_BOOTTIME on Linux): a process that slept would otherwise serve what it has missed.
//   - call Ended for any other reason than a proof (R3). That nothing answers at an address proves nothing.
//   - give Receive a message of another process than the one to which the session belongs (R17). If it
//     returns an error, close that session; nothing has changed.
//   - read a key in another order than R2's: the deadline of its own database, then the version, then the
//     clock; and store it under that version, never under one that was read later (R1).
//
// # Actions
//
// Actions are carried out in order. While one is carried out the lock is still held, so each only begins
// what takes time.
//
// Send may lose a message together with its session, but not otherwise: over one session messages arrive in
// order, each once or more, and after the first that is lost none arrives until Connected is called anew.
//
// [TakeView], [Post], [Elect], [Enter] and [OpenTransactions] are database queries. Each is answered, once,
// also when it has failed: the machine asks for one view at a time and would otherwise never ask again. A
// statement that it has given up may still be executed later; it notices that. The others have no answer.
//
//   - TakeView: one snapshot of all rows and of the count of rows, that begins after the action was fetched;
//     that time is asked. Before ViewTaken, in this order: [Machine.Missing], and for each database that has
//     answered a look, all its notes ([Machine.OutsideWrites]) and then [Machine.DatabaseReached].
//   - Post: this process's row becomes joining, and says of no note that it is applied. A new row is counted in the
//     same transaction.
//   - Elect: if this process's row is joining, and no other row is in or boot, it becomes boot, under the lock of
//     the cluster's row. Then, in all databases: which writing transactions are open.
//   - Enter: this process's row becomes in, if it is joining or boot.
//   - OpenTransactions: by ids that are never used again.
//   - MarkOut: the row becomes out, with the reason; with IfOverdue only if its heartbeat is overdue.
//   - Remove: this process's row is deleted, and the count lowered, in one transaction.
//   - WriteOff: the count is lowered, and its number drawn anew, if the number is still Counting.
//   - AcknowledgeOutside: this process's row, if it is in, says that exactly these notes are applied.
//   - ForgetOutside: these notes are deleted.
//
// [Members] says that Rows returns something new: dial those that have an address, and make the ring of
// owners anew. [Log] is for the operator.
//
// # Panics
//
// After a panic in any method, or in what is done because of an action, the machine may be half changed. The
// caller drops what it was about to ask the database, and the answers that are on their way, and calls
// [Machine.Restart] before anything else, under the same lock: the process serves nothing at once, and joins
// again.
package coherence
