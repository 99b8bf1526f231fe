// Package node composes one process's part in the cluster out of the packages below it, and is what
// the exports of the library call.
//
//   - package coherence decides when this process may serve from its cache, and under which versions;
//   - package cache keeps values, and knows which process owns which key;
//   - package mesh keeps sessions with the other processes;
//   - package bridge is the way to Python, and through it to the database.
//
// A [Node] holds one of each and the small types that connect them:
//
//   - driver runs the state machine under its lock, carries out what it asks for, and restarts it after
//     a panic;
//   - [Databases] gives a key the version under which it may be served (R2);
//   - peers is the cache's way to the owners of keys, handler the owners' side of it; peer_wire.go and
//     life.go have the form of what they say to each other;
//   - tasks bounds the reads that are under way;
//   - [Memory] is what Python reads, and writes, without a call.
//
// # Locks and goroutines
//
// The driver's lock is the outermost one. Under it nothing waits: messages are queued for their
// sessions, completions for Python, and both queues refuse what does not fit. A lookup ([Node.Get])
// takes no lock of this package.
//
// A node has one goroutine that calls the machine every 20 ms; those of the mesh, one for each peer; one
// for each read that is not answered at once, at most maxReads; and one for each request for the peers'
// statistics. All of them end with [Node.Close], which waits for them. Whatever enters the
// machine, ticks and reads are guarded: a panic there is logged and does not end the process.
//
// # The caller's duties
//
// All methods but Close may be called from any thread and at any time, and wait neither for a peer nor
// for the database. The caller watches the queue's descriptor and drains the queue when it is readable;
// answers each load ([bridge.Loads.Loaded]) and each database query ([Node.Answer]) once, if only with a
// failure; settles each event that it has announced, or says that the answer to its COMMIT was lost; and
// calls Close when every other call has returned.
package node
