package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
)

// handshake secures a new connection and exchanges hellos over it; dialled is nil on the
// accepting side. When it fails, or ctx ends first, the connection is closed.
func (t *Transport) handshake(ctx context.Context, raw net.Conn, dialled *address) (*Session, error) {
	release := context.AfterFunc(ctx, func() { _ = raw.Close() })
	s, err := t.greet(ctx, raw, dialled)
	if !release() {
		s, err = nil, ctxError(ctx)
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return s, nil
}

func ctxError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return faultf(ReasonHandshake, "its handshake was not done in time: %w", ctx.Err())
	}
	return ctx.Err()
}

func (t *Transport) greet(ctx context.Context, raw net.Conn, dialled *address) (*Session, error) {
	var conn net.Conn = &timedConn{raw, t.limits.Silence, t.limits.Stall}
	if t.security != nil {
		secured := t.secure(conn, dialled)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, faultf(ReasonTLS, "the TLS handshake with it failed: %w", err)
		}
		conn = secured
	}
	// Both sides send first and read then, so that each learns of the other's version.
	if _, err := conn.Write(encodeHello(t.self)); err != nil {
		return nil, helloError(err)
	}
	in := bufio.NewReaderSize(conn, bufferSize)
	peer, err := readHello(in)
	if err != nil {
		return nil, err
	}
	if t.admit != nil {
		if err := t.admit(peer); err != nil {
			return nil, faultf(ReasonStranger, "%w", err)
		}
	}
	remote := t.remoteText(raw)
	if dialled != nil {
		remote = dialled.text
	}
	return newSession(t, peer, remote, dialled != nil, raw, conn, in), nil
}

func (t *Transport) secure(conn net.Conn, dialled *address) *tls.Conn {
	if dialled != nil {
		return tls.Client(conn, t.security.client(*dialled))
	}
	return tls.Server(conn, t.security.server)
}

// remoteText names the other end of an accepted connection in messages. That of a unix
// socket has no name, so the socket's own must do.
func (t *Transport) remoteText(conn net.Conn) string {
	if conn.RemoteAddr().Network() == "unix" {
		return "a client of " + t.self.Address
	}
	return conn.RemoteAddr().String()
}
