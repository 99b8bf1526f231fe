// Package mesh keeps this process connected with the other processes of the cluster, and decides
// which of them are admitted.
//
// A [Mesh] owns the transport and what is known of each peer: its sessions, the goroutine that dials
// it, and when its events were announced here. It does not know what requests and values mean: the
// transport's handler is the caller's, and calls [Mesh.Up] and [Mesh.Down].
//
// The parts, each a file:
//
//   - mesh.go opens and closes the mesh: liveness, address, listener.
//   - sessions.go holds the sessions of each peer, and picks the one to send over.
//   - dialling.go dials each listed peer again and again, with growing pauses, for as long as the
//     members table lists it.
//   - reach.go, host_linux.go and liveness_linux.go decide whether an address can lead to a peer, and
//     prove that a process of this system has ended (R3).
//   - admission.go, resolve.go and claim.go decide which addresses are admitted (groupcache.peers).
//   - listed.go ends sessions of processes that do not get a row in the members table.
//   - breakers.go pauses requests to an owner that does not answer in time.
//   - announcements.go remembers when a peer announced its last events, for the lives of pushed values.
//   - lanes.go has one connection per owner for single requests.
//
// # Locks and goroutines
//
// The peers belong to the state machine and are guarded by its lock ([Machine]), so that messages
// leave over a session in the order in which the machine has sent them, and the machine learns of a
// new session before any of its messages. Methods say when the caller must hold that lock.
// Admission, breakers and lanes have locks of their own, which are only held for a moment; they may
// be taken under the machine's lock, never the other way round.
//
// Goroutines are started by Options.Go and end with Options.Life: one for each peer that is dialled,
// and one that resolves DNS names. The transport has goroutines of its own.
//
// # The caller's duties
//
// Open, then Start once the machine exists; MembersChanged whenever the machine says so; ViewTaken
// after each view; Tick every few milliseconds; Close, and at the very end ReleaseLiveness, because
// from then on other processes take this one for ended.
package mesh
