package transport

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Bind takes the first free address of Options.Listen and returns the address that peers dial. From
// then on connections wait in the system's backlog until Listen is called. Dial must not be called
// before Bind. The error is ErrInUse if other processes listen on all the addresses.
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
	t.self.Address = a.withPort(listener.Addr()).advertised(t.self.Address)
	return t.self.Address, nil
}

// Listen starts to accept sessions. It calls Bind if that was not called before.
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

// Address returns the address that peers dial; "" if this process does not listen.
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
