// Package coherence decides when a process may serve from its cache, and under which names.
//
// groupcache is read-only: a key means one value for ever. Objects change. So a value's name
// is its key plus a version, a write moves every process on to a new version, and what is
// left to solve is that all processes learn of it in time. The order that does it is
// announce, commit, settle: before COMMIT is sent every member of the cluster has
// acknowledged the event, from then until the answer to COMMIT has come the buckets that it
// may change are in doubt, and settling adds the event's nonce to their versions.
//
// The package is a pure state machine. Messages of other processes, readings of the members
// table, answers of the database and readings of the clock go in; actions come out. It has
// no goroutine, socket or clock of its own and is not safe for concurrent use, but for
// [Table], which anyone may read at any time. So a simulation can drive a whole cluster of
// this very code through random schedules from one seed.
//
// The rules that the comments name (R1 to R14) are those of docs/coherence.rst.
package coherence
