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

// Listen begins to accept sessions at Options.Listen. errors.Is(err, ErrInUse) when another
// process listens there.
func (t *Transport) Listen() error {
	if t.listen == "" {
		return errors.New("no address to listen on")
	}
	a, err := parseAddress(t.listen, t.security != nil)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	if t.listener != nil {
		return fmt.Errorf("listen %s: already listening", t.listen)
	}
	listener, err := listenAt(a)
	if err != nil {
		return err
	}
	t.listener = listener
	t.group.Add(1)
	go t.accept(listener)
	return nil
}

// Address returns where this process listens, with the port that the system chose if
// Options.Listen had port 0; "" when it does not listen.
func (t *Transport) Address() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listener == nil {
		return ""
	}
	if t.listener.Addr().Network() == "unix" {
		return t.listen
	}
	return t.listener.Addr().String()
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

// accept takes connections until the listener is closed. Those over Limits.Handshakes are
// closed at once, so that silent connections cost no more than that many goroutines.
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
		select {
		case t.handshakes <- struct{}{}:
			t.group.Add(1)
			go t.welcome(raw)
		default:
			t.faults.note(t.remoteText(raw), faultf(ReasonBusy, "%d others are in handshake", t.limits.Handshakes))
			_ = raw.Close()
		}
	}
}

// welcome does the accepting side's handshake and starts the session.
func (t *Transport) welcome(raw net.Conn) {
	defer t.group.Done()
	s, err := t.greetInTime(raw)
	<-t.handshakes
	if err == nil {
		err = t.start(s)
	}
	if err != nil && t.life.Err() == nil {
		t.faults.note(t.remoteText(raw), err)
	}
}

func (t *Transport) greetInTime(raw net.Conn) (*Session, error) {
	ctx, cancel := context.WithTimeout(t.life, t.limits.Handshake)
	defer cancel()
	return t.handshake(ctx, raw, nil)
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
