package mesh

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"guillotina_groupcache/internal/coherence"
)

// A process holds a socket for as long as it lives, under a name in the abstract namespace that
// contains its incarnation. The kernel frees the name when the process ends, however it ends, and not
// before. It cannot be removed, as a cleaner removes a socket file, and a connection to it cannot be
// led elsewhere, as a symbolic link, a resolver or a firewall does. So a free name proves that the
// process has ended (R3); an answer or a refusal at its address does not.
//
// Abstract names belong to a network namespace. The socket is a datagram socket, and the test is to
// connect to it, which leaves nothing in any queue.

func livenessName(id coherence.Incarnation) *net.UnixAddr {
	return &net.UnixAddr{Net: "unixgram", Name: fmt.Sprintf("@guillotina_groupcache/%d", id)}
}

// holdLiveness shows that a process lives until the socket is closed.
func holdLiveness(id coherence.Incarnation) (*net.UnixConn, error) {
	return net.ListenUnixgram("unixgram", livenessName(id))
}

// hasEnded reports whether a process that held its socket in this network namespace has ended.
func hasEnded(id coherence.Incarnation) bool {
	socket, err := net.DialUnix("unixgram", nil, livenessName(id))
	if err == nil {
		_ = socket.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED) // other errors, such as a missing permission, prove nothing
}
