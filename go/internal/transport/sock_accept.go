package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

const (
	// acceptPause is how long the listener pauses after a failed accept, mostly for want of
	// file descriptors.
	acceptPause = 100 * time.Millisecond
	// acceptSettled is how long no accept must fail until an outage counts as over.
	acceptSettled = time.Second
)

// outage is a time during which connections cannot be accepted. Its beginning and its end are
// logged.
type outage struct {
	since, last time.Time // the first and the last failure
	logged      bool      // its beginning was
}

// accept accepts connections until the listener is closed.
func (t *Transport) accept(listener net.Listener) {
	defer t.group.Done()
	var failing *outage
	for {
		raw, err := listener.Accept()
		if t.life.Err() != nil {
			if err == nil {
				_ = raw.Close()
			}
			return
		}
		failing = t.trackOutage(listener, failing, err)
		if err == nil {
			t.acceptConn(raw)
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.pause(acceptPause)
		}
	}
}

// trackOutage logs when connections can no longer be accepted, and when they can again. Meanwhile
// the listener has a deadline, so that the end is noticed even if nobody connects.
func (t *Transport) trackOutage(listener net.Listener, failing *outage, err error) *outage {
	now := time.Now()
	switch {
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		t.faults.count(ReasonAccept)
		if failing == nil {
			failing = &outage{since: now}
			if _, failing.logged = t.faults.throttle.Allow(string(ReasonAccept)); failing.logged {
				t.faults.writeLog("error", fmt.Sprintf("cannot accept connections: %v", err))
			}
		}
		failing.last = now
		setDeadline(listener, now.Add(acceptPause+acceptSettled))
	case failing != nil && now.Sub(failing.last) >= acceptSettled:
		if failing.logged {
			t.faults.writeLog("info", fmt.Sprintf("accepts connections again, after %v",
				now.Sub(failing.since).Round(time.Millisecond)))
		}
		failing = nil
		setDeadline(listener, time.Time{})
	}
	return failing
}

// setDeadline ends the listener's next wait at a time; the zero time: never.
func setDeadline(listener net.Listener, at time.Time) {
	if l, ok := listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = l.SetDeadline(at) // fails only if the listener is closed
	}
}

// acceptConn starts the handshake of an accepted connection, once there is room for it.
func (t *Transport) acceptConn(raw net.Conn) {
	c, ok := t.pending.add(raw, t.life.Done())
	if !ok {
		_ = raw.Close()
		return
	}
	t.group.Add(1)
	go t.serveConn(c)
}

// serveConn does the accepting side's handshake and starts the session.
func (t *Transport) serveConn(c *pendingConn) {
	defer t.group.Done()
	remote := t.describeRemote(c.Conn, c.source)
	done, err := t.acceptHandshake(c.Conn)
	t.pending.remove(c)
	if err == nil && done.peer.Lane {
		err = t.block(done)
	}
	if err == nil {
		done.remote, done.source = remote, c.source
		err = t.start(newSession(t, done, false))
	}
	if err != nil && c.evicted.Load() {
		err = faultf(ReasonBusy, "evicted while in handshake, as %d later ones were pending: %w", t.limits.PendingHandshakes, err)
	}
	if err != nil && t.life.Err() == nil {
		t.faults.record(remote, err)
	}
}

func (t *Transport) acceptHandshake(raw net.Conn) (*handshaken, error) {
	ctx, cancel := context.WithTimeout(t.life, t.limits.HandshakeTimeout)
	defer cancel()
	return t.handshake(ctx, raw, t.self, nil)
}

// describeRemote names the other end of an accepted connection in messages. A unix socket's other end
// has no address, so its process and the socket's own address are named instead.
func (t *Transport) describeRemote(conn net.Conn, source string) string {
	if conn.RemoteAddr().Network() == "unix" {
		return source + ", a client of " + t.self.Address
	}
	return conn.RemoteAddr().String()
}

// pause waits for d or until the transport is closed.
func (t *Transport) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.life.Done():
	}
}
