// Package transport carries frames between the processes of a cluster. It authenticates
// the processes to each other, keeps every connection within limits, and knows nothing of
// what the frames mean.
//
// A [Transport] is one process's end of it: it listens, dials, and owns all goroutines. A
// [Session] is one connection whose handshake is done. It is symmetric: both sides send
// one-way frames and ask for answers over it, whoever dialled, so that a client, which has
// no address, can be asked over the session that it opened. A [Lane] is a connection over which
// one side only asks, and reads the answers itself.
//
// On the wire each side first sends a hello (hello.go), proves that it is who that says
// (identity.go), then sends frames (frame.go). A session
// has two goroutines: one reads and calls the [Handler], one writes what is queued.
package transport
