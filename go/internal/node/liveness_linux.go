package node

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"guillotina_groupcache/internal/coherence"
)

// A process holds a socket for as long as it lives, under a name in the abstract namespace that
// says its incarnation. The kernel takes the name back when the process ends, however it ends, and
// not before: nobody can remove it, as a cleaner removes a socket file, and nobody can lead a
// connection to it elsewhere, as a symbolic link, a resolver or a firewall does. So that nobody
// holds the name proves that the process has ended (R3); what answers, or refuses, at the address
// where it listens does not.
//
// Abstract names belong to a network namespace. It is a datagram socket, which is asked by
// connecting to it: that leaves nothing in any queue.

func livenessName(who coherence.Incarnation) *net.UnixAddr {
	return &net.UnixAddr{Net: "unixgram", Name: fmt.Sprintf("@guillotina_groupcache/%d", who)}
}

// holdLiveness shows that a process lives, until the socket is closed.
func holdLiveness(who coherence.Incarnation) (*net.UnixConn, error) {
	return net.ListenUnixgram("unixgram", livenessName(who))
}

// hasEnded tells whether a process that held its socket in this network namespace has ended.
func hasEnded(who coherence.Incarnation) bool {
	socket, err := net.DialUnix("unixgram", nil, livenessName(who))
	if err == nil {
		_ = socket.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED) // a right that is missing, for one, proves nothing
}
