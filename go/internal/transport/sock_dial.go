package transport

import (
	"context"
	"fmt"
	"net"
)

// Dial opens a session to an address, within ctx and Limits.HandshakeTimeout, whichever ends
// first. The handler's Up has returned when Dial returns. No error proves anything about the
// process that was to answer, and another one may answer than the caller expects, also the own
// one: look at Session.Peer.
func (t *Transport) Dial(ctx context.Context, to string) (*Session, error) {
	var s *Session
	_, err := t.dial(ctx, to, false, func(g *greeted) error {
		s = newSession(t, g, true)
		return t.start(s)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// dial greets who answers at an address, as a lane or not, and hands the connection to use,
// to which it then belongs.
func (t *Transport) dial(ctx context.Context, to string, lane bool, use func(*greeted) error) (Peer, error) {
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
	g, err := t.handshake(ctx, raw, self, &a)
	if err == nil {
		err = use(g)
	}
	if err != nil {
		if isStranger(err) {
			t.faults.note(a.text, err)
		}
		return Peer{}, t.dialError(a, err)
	}
	return g.peer, nil
}

func (t *Transport) dialError(a address, err error) error {
	if t.life.Err() != nil {
		err = ErrClosed
	}
	return fmt.Errorf("dial %s: %w", a.text, err)
}
