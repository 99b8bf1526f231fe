// Package bridge is the way between Go and Python.
//
// Go never calls into Python. Work that is finished here, and work that Python has to do, becomes a
// completion in a [Queue]; a readable descriptor wakes Python's event loop, which then drains all
// completions in one call. Python answers by calling into Go.
//
// The parts, each a file:
//
//   - [Queue] holds the completions, and defers those that Python waits for while it is full.
//   - [Watch] makes the queue's pipe and the descriptors of lanes one descriptor, so that the event
//     loop has to know only that one.
//   - [Loads] asks Python to load keys from the database. It is the cache's loader.
//   - [Queries] asks Python about the members table and about open transactions, on behalf of the
//     state machine, and hands the answers to it.
//   - [OutsideWrites] keeps what Python has said of notes, which are rows that triggers write about
//     writes that no process has announced (R14).
//   - wire.go is the form of lists that cross the border, both ways.
//
// The package has no goroutine. Its callers pass the time; only the statistics of outside writes read
// the clock. Queue, Watch and Loads are safe for concurrent use. Queue takes no lock but its own and
// never waits, so it may be called under any lock. Loads and Watch must not be called under the
// machine's lock: Loads asks which databases are reachable, which takes that lock, and both run
// callbacks of the cache or of lanes. Queries and OutsideWrites belong to the state machine: the
// caller holds its lock for every call. Nothing here has a deadline of its own: the cache bounds a
// load, and the machine asks again when a view does not come.
//
// The caller calls [Queue.FlushDeferred] every few milliseconds: a deferred completion would
// otherwise never arrive, and its transaction could never commit.
package bridge
