// Package transport carries frames between the processes of a cluster. It authenticates the
// processes to each other, bounds what each connection can cost, and does not know what the
// frames mean.
//
// A [Transport] is one process's end of all its connections: it listens, dials, and owns all
// goroutines. A [Session] is an authenticated conversation over one connection. It is symmetric:
// whichever side has dialled, both send one-way frames and requests over it, so that a client, which
// has no address, receives requests over the session that it opened. A [Lane] is a connection over
// which one side only sends requests, and reads the answers itself.
//
// # Layers
//
// From the bottom up, each in the files of its prefix:
//
//   - Addresses (addr_*): "host:port" or "unix:/path". TCP is refused without a secret or TLS files,
//     also on loopback.
//   - Sockets (sock_*): listening, accepting and dialling. Each read and each step of a write has a
//     deadline (timedConn).
//   - TLS 1.3 (tls_*) over TCP, and over unix sockets where it is configured: mutual, by a key that
//     is derived from the shared [Secret] or by the certificates of a private PKI.
//   - The handshake and frames (wire_*). Each side sends a hello with its public key, and proves
//     by a signature that it has the private key, from which its incarnation is derived
//     ([Identity]). Options.Admit may then refuse the other side. After that only frames follow: a
//     message, a request, its answer or failure, or a heartbeat.
//   - Sessions (session_*): one goroutine reads and calls the [Handler], one writes what is queued.
//
// # Bounds
//
// A peer that is not authenticated can hold one of Limits.PendingHandshakes connections for
// Limits.HandshakeTimeout. Beyond that number the oldest one of the busiest source is evicted, so
// that a flood of connections from one source does not keep others out.
//
// A peer that is authenticated, but without a row in the members table (Options.Listed), has lower
// bounds than a member: Limits.Unlisted sessions for all such peers together, smaller frames, and
// queues that share one total. Their sessions are evicted before those of members.
//
// A session is bounded in the size of a frame, in unanswered requests, and in the bytes and the
// number of its queued frames. It ends when it has read nothing for Limits.ReadTimeout, which
// heartbeats of an idle peer prevent, or when a write makes no progress for Limits.WriteTimeout.
//
// What goes wrong is counted by [Reason] and logged, each reason at most every ten seconds.
//
// # Duties of the caller
//
// Bind, if the address is needed before peers may connect; Listen; Dial; and at the end Close. The
// handler must not block, since its session reads nothing meanwhile. CloseUnlisted is called after
// each view of the members table.
package transport
