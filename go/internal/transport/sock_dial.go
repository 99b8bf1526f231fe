package transport

import (
	"context"
	"fmt"
	"net"
)

// Dial opens a session to an address, within ctx and Limits.HandshakeTimeout, whichever ends
// first. When Dial returns, the handler's Up has returned. No error proves anything about the
// process that was expected at the address. The session may be with another process than expected,
// also with this one: look at Session.Peer.
func (t *Transport) Dial(ctx context.Context, to string) (*Session, error) {
	var s *Session
	_, err := t.dial(ctx, to, false, func(c *handshaken) error {
		s = newSession(t, c, true)
		return t.start(s)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// dial connects to an address, as a lane or not, does the handshake, and passes the connection to
// use, which then owns it.
func (t *Transport) dial(ctx context.Context, to string, lane bool, use func(*handshaken) error) (Peer, error) {
	a, err := parseAddress(to, t.security != nil)
	if err != nil {
		return Peer{}, err
	}
	if !t.enter() {
		return Peer{}, ErrClosed
	}
	defer t.group.Done()
	ctx, cancel := context.WithTimeout(ctx, t.limits.HandshakeTimeout)
	defer cancel()
	defer context.AfterFunc(t.life, cancel)()

	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, a.network, a.target)
	if err != nil {
		return Peer{}, t.dialError(a, err)
	}
	self := t.self
	if lane {
		raw, self.Lane = &laneSocket{Conn: raw}, true
	}
	c, err := t.handshake(ctx, raw, self, &a)
	if err == nil {
		err = use(c)
	}
	if err != nil {
		if isNotAdmitted(err) {
			t.faults.record(a.text, err)
		}
		return Peer{}, t.dialError(a, err)
	}
	return c.peer, nil
}

func (t *Transport) dialError(a address, err error) error {
	if t.life.Err() != nil {
		err = ErrClosed
	}
	return fmt.Errorf("dial %s: %w", a.text, err)
}
