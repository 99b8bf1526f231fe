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
	// acceptPause is how long the listener waits after it could not accept, mostly for want of
	// file descriptors.
	acceptPause = 100 * time.Millisecond
	// acceptSettled is after how long without such a failure they count as over.
	acceptSettled = time.Second
)

// unaccepted is a time in which connections cannot be accepted. Its begin is logged, and its end.
type unaccepted struct {
	since, last time.Time
	told        bool // its begin was logged
}

// accept takes connections until the listener is closed.
func (t *Transport) accept(listener net.Listener) {
	defer t.group.Done()
	var failing *unaccepted
	for {
		raw, err := listener.Accept()
		if t.life.Err() != nil {
			if err == nil {
				_ = raw.Close()
			}
			return
		}
		failing = t.watchAccept(listener, failing, err)
		if err == nil {
			t.receiveConn(raw)
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.pause(acceptPause)
		}
	}
}

// watchAccept logs when connections cannot be accepted any more, and when they can again. Meanwhile
// the listener has a deadline, so that the end is noticed also if nobody comes.
func (t *Transport) watchAccept(listener net.Listener, failing *unaccepted, err error) *unaccepted {
	now := time.Now()
	switch {
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		t.faults.count(ReasonAccept)
		if failing == nil {
			failing = &unaccepted{since: now}
			if _, failing.told = t.faults.throttle.Allow(string(ReasonAccept)); failing.told {
				t.faults.write("error", fmt.Sprintf("cannot accept connections: %v", err))
			}
		}
		failing.last = now
		deadline(listener, now.Add(acceptPause+acceptSettled))
	case failing != nil && now.Sub(failing.last) >= acceptSettled:
		if failing.told {
			t.faults.write("info", fmt.Sprintf("accepts connections again, after %v",
				now.Sub(failing.since).Round(time.Millisecond)))
		}
		failing = nil
		deadline(listener, time.Time{})
	}
	return failing
}

// deadline ends the listener's next wait at a time; the zero time: at none.
func deadline(listener net.Listener, at time.Time) {
	if l, ok := listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = l.SetDeadline(at) // fails only where the listener is closed
	}
}

// receiveConn has the handshake of an accepted connection done, as soon as there is room for it.
func (t *Transport) receiveConn(raw net.Conn) {
	c, ok := t.pending.add(raw, t.life.Done())
	if !ok {
		_ = raw.Close()
		return
	}
	t.group.Add(1)
	go t.welcome(raw, c)
}

// welcome does the accepting side's handshake and starts the session.
func (t *Transport) welcome(raw net.Conn, c *pendingConn) {
	defer t.group.Done()
	remote := t.remoteText(raw, c.source)
	g, err := t.greetInTime(raw)
	t.pending.remove(c)
	if err == nil && g.peer.Lane {
		err = t.block(g)
	}
	if err == nil {
		g.remote, g.source = remote, c.source
		err = t.start(newSession(t, g, false))
	}
	if err != nil && c.ousted.Load() {
		err = faultf(ReasonBusy, "%d others came while it was in handshake: %w", t.limits.PendingHandshakes, err)
	}
	if err != nil && t.life.Err() == nil {
		t.faults.note(remote, err)
	}
}

func (t *Transport) greetInTime(raw net.Conn) (*greeted, error) {
	ctx, cancel := context.WithTimeout(t.life, t.limits.HandshakeTimeout)
	defer cancel()
	return t.handshake(ctx, raw, t.self, nil)
}

// pause waits for d or the transport's end.
func (t *Transport) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.life.Done():
	}
}
