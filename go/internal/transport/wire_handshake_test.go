package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// Both sides learn of a wrong version: the listener's hello arrives although it refuses.
func TestBothSidesReportAWrongVersion(t *testing.T) {
	noLeaks(t)
	listener, address := rawListener(t)
	defer func() { _ = listener.Close() }()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		hello := someHello(t, Peer{})
		hello[5] = 9
		_, _ = conn.Write(hello)
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}()
	_, err := newNode(t, nil).Dial(context.Background(), address)
	if err == nil || !strings.Contains(err.Error(), "speaks version 9") {
		t.Fatalf("got %v", err)
	}
}

func TestAdmission(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			noLeaks(t)
			known := way.listen(t)
			member := newNode(t, func(o *Options) { o.Listen, o.Secret = []string{known}, way.secret })
			picky := newNode(t, func(o *Options) {
				o.Listen, o.Secret = []string{way.listen(t)}, way.secret
				o.Admit = func(p Peer) error {
					if p.Address != member.Address() {
						return fmt.Errorf("%q is not on the list", p.Address)
					}
					return nil
				}
			})
			other := newNode(t, func(o *Options) { o.Listen, o.Secret = []string{way.listen(t)}, way.secret })

			call(t, dial(t, member, picky), "admitted")
			call(t, dial(t, picky, member), "dialled")
			if _, err := other.Dial(context.Background(), picky.Address()); !errors.Is(err, ErrNotAdmitted) ||
				!strings.Contains(err.Error(), `not admitted by the other side: "`+other.Address()) {
				t.Errorf("it was admitted, or does not know why not: %v", err)
			}
			if ups, _, _, _ := other.seen(); ups != 0 {
				t.Error("the refused process had a session")
			}
			waitFault(t, picky, ReasonNotAdmitted)
			if _, err := picky.Dial(context.Background(), other.Address()); !errors.Is(err, ErrNotAdmitted) ||
				!strings.Contains(err.Error(), "not on the list") {
				t.Errorf("a process that is not on the list was dialled: %v", err)
			}
			if faults := picky.Stats().Faults; faults[ReasonNotAdmitted] != 2 || len(faults) != 1 {
				t.Errorf("faults: %v", faults)
			}
			if ups, _, _, _ := picky.seen(); ups != 2 {
				t.Errorf("%d sessions, want those with the member", ups)
			}
			if log := picky.logged(); !strings.Contains(log, other.Address()+`" is not on the list`) ||
				!strings.Contains(log, "connection with ") {
				t.Errorf("logged: %s", log)
			}
		})
	}
}
