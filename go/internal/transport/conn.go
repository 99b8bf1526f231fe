package transport

import (
	"errors"
	"net"
	"os"
	"time"
)

// writeStep is how many bytes are written under one deadline, so that a large frame on a
// slow line is not taken for a stalled peer.
const writeStep = 64 << 10

// timedConn is a connection that gives every read and write a deadline of its own. It lies
// below TLS, so that also a TLS record that comes byte by byte is progress.
type timedConn struct {
	net.Conn
	silence time.Duration
	stall   time.Duration
}

func (c *timedConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = faultf(ReasonSilent, "nothing came from it for %v", c.silence)
	}
	return n, err
}

func (c *timedConn) Write(p []byte) (int, error) {
	written := 0
	for {
		if err := c.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(p[written:min(len(p), written+writeStep)])
		written += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = faultf(ReasonStalled, "it read nothing for %v", c.stall)
		}
		if err != nil || written == len(p) {
			return written, err
		}
	}
}
