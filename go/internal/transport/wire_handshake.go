package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
)

// greeted is a connection whose hellos are exchanged and proved.
type greeted struct {
	peer   Peer
	remote string    // for messages: the address dialled or where the peer came from; inbound: see welcome
	source string    // inbound: see sourceOf
	raw    net.Conn  // the socket
	conn   net.Conn  // over raw: deadlines, and TLS where there is any
	in     io.Reader // over conn: what was read ahead comes first
}

// handshake secures a new connection and exchanges hellos and proofs over it, in which this process is
// self; dialled is nil on the accepting side. When it fails, or ctx ends first, the connection
// is closed.
func (t *Transport) handshake(ctx context.Context, raw net.Conn, self Peer, dialled *address) (*greeted, error) {
	release := context.AfterFunc(ctx, func() { _ = raw.Close() })
	var g *greeted
	err := Guard(func() (err error) { // it calls Options.Admit, and reads what a stranger sends
		g, err = t.greet(ctx, raw, self, dialled)
		return err
	})
	// TLS has its own eye on ctx, and may be the first to see its end.
	if !release() || err != nil && ctx.Err() != nil {
		g, err = nil, ctxError(ctx)
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return g, nil
}

func ctxError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return faultf(ReasonHandshakeTimeout, "its handshake was not done in time: %w", ctx.Err())
	}
	return ctx.Err()
}

func (t *Transport) greet(ctx context.Context, raw net.Conn, self Peer, dialled *address) (*greeted, error) {
	var conn net.Conn = newTimedConn(raw, t.limits)
	if t.security != nil {
		secured := t.secure(conn, dialled)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, faultf(ReasonTLS, "the TLS handshake with it failed: %w", err)
		}
		conn = secured
	}
	// Both sides send first and read then, so that each learns of the other's version.
	own := t.identity.newHello(self)
	if _, err := conn.Write(own.encode()); err != nil {
		return nil, helloError(err)
	}
	in := bufio.NewReaderSize(conn, bufferSize)
	other, err := readHello(in)
	if err != nil {
		return nil, err
	}
	// Nothing is decided because of who it is before it has proved that it is.
	if err := t.identity.prove(conn, in, own, other, dialled != nil); err != nil {
		return nil, err
	}
	if err := t.decide(conn, in, other.peer, dialled != nil); err != nil {
		if errors.Is(err, ErrNotAdmitted) {
			err = &RefusalError{other.peer.Incarnation, err}
		}
		return nil, err
	}
	g := &greeted{peer: other.peer, raw: raw, conn: conn, in: in}
	if dialled != nil {
		g.remote = dialled.text
	}
	return g, nil
}

// decide asks whether a peer is let in. The side that was dialled tells the other one.
func (t *Transport) decide(conn net.Conn, in io.Reader, peer Peer, dialled bool) error {
	var refusal error
	if t.admit != nil {
		refusal = t.admit(peer)
	}
	if !dialled {
		if _, err := conn.Write(encodeVerdict(refusal)); err != nil && refusal == nil {
			return helloError(err)
		}
	}
	if refusal != nil {
		return faultf(ReasonNotAdmitted, "%w: %w", ErrNotAdmitted, refusal)
	}
	if dialled {
		return readVerdict(in)
	}
	return nil
}

func (t *Transport) secure(conn net.Conn, dialled *address) *tls.Conn {
	if dialled != nil {
		return tls.Client(conn, t.security.client(*dialled))
	}
	return tls.Server(conn, t.security.server)
}

// remoteText names the other end of an accepted connection in messages. That of a unix
// socket has no name, so its process and the socket's own name must do.
func (t *Transport) remoteText(conn net.Conn, source string) string {
	if conn.RemoteAddr().Network() == "unix" {
		return source + ", a client of " + t.self.Address
	}
	return conn.RemoteAddr().String()
}
