package transport

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
)

// handshaken is a connection that has completed the handshake: both sides have exchanged hellos,
// proved their incarnations, and admitted each other.
type handshaken struct {
	peer   Peer
	remote string    // for messages: the address dialled, or of an inbound connection describeRemote's text
	source string    // inbound: see sourceOf
	raw    net.Conn  // the socket
	conn   net.Conn  // over raw: deadlines, and TLS where there is any
	reader io.Reader // over conn: starts with what was read ahead
}

// handshake secures a new connection and exchanges hellos, proofs and the verdict. self is this
// process; dialled is nil on the accepting side. If the handshake fails, or ctx ends first, the
// connection is closed.
func (t *Transport) handshake(ctx context.Context, raw net.Conn, self Peer, dialled *address) (*handshaken, error) {
	release := context.AfterFunc(ctx, func() { _ = raw.Close() })
	var c *handshaken
	err := Guard(func() (err error) { // it calls Options.Admit, and reads what an unauthenticated peer sends
		c, err = t.negotiate(ctx, raw, self, dialled)
		return err
	})
	// TLS watches ctx as well, and may notice its end first.
	if !release() || err != nil && ctx.Err() != nil {
		c, err = nil, ctxError(ctx)
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

func ctxError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return faultf(ReasonHandshakeTimeout, "handshake timeout: %w", ctx.Err())
	}
	return ctx.Err()
}

func (t *Transport) negotiate(ctx context.Context, raw net.Conn, self Peer, dialled *address) (*handshaken, error) {
	var conn net.Conn = newTimedConn(raw, t.limits)
	if t.security != nil {
		secured := t.security.wrap(conn, dialled)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, faultf(ReasonTLS, "the TLS handshake with it failed: %w", err)
		}
		conn = secured
	}
	// Both sides send before they read, so that each learns the other's protocol version.
	own := t.identity.newHello(self)
	if _, err := conn.Write(own.encode()); err != nil {
		return nil, helloError(err)
	}
	reader := bufio.NewReaderSize(conn, bufferSize)
	other, err := readHello(reader)
	if err != nil {
		return nil, err
	}
	// Nothing may depend on the peer's incarnation before the peer has proved it.
	if err := t.identity.prove(conn, reader, own, other, dialled != nil); err != nil {
		return nil, err
	}
	if err := t.exchangeVerdict(conn, reader, other.peer, dialled != nil); err != nil {
		if errors.Is(err, ErrNotAdmitted) {
			err = &RefusalError{other.peer.Incarnation, err}
		}
		return nil, err
	}
	c := &handshaken{peer: other.peer, raw: raw, conn: conn, reader: reader}
	if dialled != nil {
		c.remote = dialled.text
	}
	return c, nil
}

// exchangeVerdict asks Options.Admit whether the peer is admitted. The side that was dialled sends
// its verdict to the other one.
func (t *Transport) exchangeVerdict(conn net.Conn, reader io.Reader, peer Peer, dialled bool) error {
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
		return readVerdict(reader)
	}
	return nil
}
