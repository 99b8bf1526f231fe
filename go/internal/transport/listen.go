package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// acceptPause is how long the listener waits after it could not accept, mostly for want of
// file descriptors.
const acceptPause = 100 * time.Millisecond

// Bind takes the first address of Options.Listen that is free and returns what peers dial.
// From here on connections wait in the system's queue for Listen. Nothing may be dialled
// before. errors.Is(err, ErrInUse) when another process listens on each of the addresses.
func (t *Transport) Bind() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return "", ErrClosed
	}
	if t.listener != nil {
		return "", fmt.Errorf("listen %s: already listening", t.self.Address)
	}
	listener, a, err := t.firstFree()
	if err != nil {
		return "", err
	}
	t.listener = listener
	t.self.Address = a.withPort(listener.Addr()).advertise(t.self.Address)
	return t.self.Address, nil
}

// Listen begins to accept sessions, after Bind if nobody has called that.
func (t *Transport) Listen() error {
	t.mu.Lock()
	bound := t.listener != nil
	t.mu.Unlock()
	if !bound {
		if _, err := t.Bind(); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	if t.accepting {
		return fmt.Errorf("listen %s: already listening", t.self.Address)
	}
	t.accepting = true
	t.group.Add(1)
	go t.accept(t.listener)
	return nil
}

// Address returns what peers dial; "" when this process does not listen.
func (t *Transport) Address() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listener == nil {
		return ""
	}
	return t.self.Address
}

func (t *Transport) firstFree() (net.Listener, address, error) {
	if len(t.listen) == 0 {
		return nil, address{}, errors.New("no address to listen on")
	}
	for _, text := range t.listen {
		a, err := parseAddress(text, t.security != nil)
		if err != nil {
			return nil, a, err
		}
		listener, err := listenAt(a)
		if err == nil || !errors.Is(err, ErrInUse) || len(t.listen) == 1 {
			return listener, a, err
		}
	}
	return nil, address{}, fmt.Errorf("listen %s to %s: all %d addresses are %w: other processes listen there",
		t.listen[0], t.listen[len(t.listen)-1], len(t.listen), ErrInUse)
}

func listenAt(a address) (net.Listener, error) {
	var listener net.Listener
	var err error
	if a.network == "unix" {
		listener, err = listenUnix(a.target)
	} else {
		listener, err = net.Listen("tcp", a.target)
	}
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, ErrInUse) {
		return nil, fmt.Errorf("listen %s: the address is %w: another process listens there", a.text, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", a.text, err)
	}
	return listener, nil
}

// accept takes connections until the listener is closed.
func (t *Transport) accept(listener net.Listener) {
	defer t.group.Done()
	for {
		raw, err := listener.Accept()
		if t.life.Err() != nil {
			if err == nil {
				_ = raw.Close()
			}
			return
		}
		if err != nil {
			t.faults.write("error", fmt.Sprintf("cannot accept a connection: %v", err))
			t.pause(acceptPause)
			continue
		}
		t.group.Add(1)
		go t.welcome(raw, t.newcomers.add(raw))
	}
}

// welcome does the accepting side's handshake and starts the session.
func (t *Transport) welcome(raw net.Conn, c *newcomer) {
	defer t.group.Done()
	g, err := t.greetInTime(raw)
	t.newcomers.remove(c)
	if err == nil && g.peer.Lane {
		err = t.block(g)
	}
	if err == nil {
		err = t.start(newSession(t, g, false))
	}
	if err != nil && c.ousted.Load() {
		err = faultf(ReasonBusy, "%d others came while it was in handshake: %w", t.limits.Handshakes, err)
	}
	if err != nil && t.life.Err() == nil {
		t.faults.note(t.remoteText(raw), err)
	}
}

func (t *Transport) greetInTime(raw net.Conn) (*greeted, error) {
	ctx, cancel := context.WithTimeout(t.life, t.limits.Handshake)
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
