package transport

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestBothSidesCallAndSend(t *testing.T) {
	eachWay(t, Limits{}, func(t *testing.T, server, client *node) {
		s := dial(t, client, server)
		back := server.session(t, 0)
		if !s.Outgoing() || back.Outgoing() {
			t.Error("only the dialling side's session is outgoing")
		}
		if s.Peer() != server.self || back.Peer() != client.self {
			t.Errorf("peers %v and %v", s.Peer(), back.Peer())
		}
		for _, side := range []*Session{s, back} {
			call(t, side, "hello")
			call(t, side, "")
			call(t, side, strings.Repeat("x", 5<<20))
			if n := side.unanswered.Load(); n != 0 {
				t.Errorf("%d requests count as unanswered", n)
			}
		}
		const n = 1000
		for i := range n {
			if err := s.Send(0, []byte("up "), []byte(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
			if err := back.Send(0, []byte("down "), []byte(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		call(t, s, "after all messages")
		call(t, back, "after all messages")
		for i := range n {
			if got, want := server.messages[i], fmt.Sprint("up ", i); got != want {
				t.Fatalf("message %q, want %q", got, want)
			}
			if got, want := client.messages[i], fmt.Sprint("down ", i); got != want {
				t.Fatalf("message %q, want %q", got, want)
			}
		}
	})
}

// What was sent before Close(nil) arrives, also while the other side keeps sending.
func TestCloseSendsWhatIsQueued(t *testing.T) {
	eachWay(t, Limits{DrainTimeout: patience}, func(t *testing.T, server, client *node) {
		s := dial(t, client, server)
		back := server.session(t, 0)
		const n = 200
		body := make([]byte, 10<<10)
		for range n {
			if err := s.Send(0, body); err != nil {
				t.Fatal(err)
			}
			if err := back.Send(0, body); err != nil {
				t.Fatal(err)
			}
		}
		s.Close(nil)
		if err := s.Send(0); !errors.Is(err, ErrClosed) {
			t.Fatalf("Send after Close: %v", err)
		}
		if downs := server.waitDowns(t, 1); downs[0] != io.EOF {
			t.Fatalf("Down at the other side with %v", downs[0])
		}
		if downs := client.waitDowns(t, 1); downs[0] != nil {
			t.Fatalf("Down with %v", downs[0])
		}
		if _, _, messages, _ := server.seen(); messages != n {
			t.Fatalf("%d messages of %d arrived", messages, n)
		}
		if faults := server.Stats().Faults; len(faults) != 0 {
			t.Fatalf("counted as faults: %v", faults)
		}
	})
}

func TestUpComesBeforeFramesAndDownOnceAfterThem(t *testing.T) {
	noLeaks(t)
	server := newServer(t, Limits{})
	client := newNode(t, nil)
	client.whenUp(func(s *Session) { _ = s.Send(0, []byte("from Up")) })
	s := dial(t, client, server)
	if ups, _, _, _ := client.seen(); ups != 1 {
		t.Fatal("Dial returned before Up")
	}
	call(t, s, "x")
	if server.messages[0] != "from Up" {
		t.Fatalf("first message %q", server.messages[0])
	}
	s.Close(errors.New("first"))
	s.Close(errors.New("second"))
	s.Close(nil)
	client.Close()
	server.Close()
	for _, n := range []*node{client, server} {
		if ups, downs, _, _ := n.seen(); ups != 1 || downs != 1 {
			t.Fatalf("%d ups, %d downs", ups, downs)
		}
	}
}

func TestFramesAfterCloseAreNotDelivered(t *testing.T) {
	noLeaks(t)
	closing := errors.New("enough")
	server := newServer(t, Limits{})
	server.whenUp(func(s *Session) { s.Close(closing) })
	conn := rawConn(t, server)
	identity := newIdentity(t)
	own := identity.newHello(Peer{})
	send(t, conn, own.encode())
	other, err := readHello(conn)
	if err != nil {
		t.Fatal(err)
	}
	proof := ed25519.Sign(identity.key, proofOf(roleDialler, nil, own, other))
	send(t, conn, append(proof, encodeFrame(typeMessage, 0, 0)...)) // in one piece, so that both are read ahead
	if downs := server.waitDowns(t, 1); downs[0] != closing {
		t.Fatalf("Down with %v", downs[0])
	}
	if _, _, messages, _ := server.seen(); messages != 0 {
		t.Fatal("a frame came after Close")
	}
}

func TestPanicOfTheHandlerEndsOnlyItsSession(t *testing.T) {
	noLeaks(t)
	server, client := newServer(t, Limits{}), newNode(t, nil)
	healthy := dial(t, client, server)
	bad := dial(t, client, server)
	if err := bad.Send(kindPanic); err != nil {
		t.Fatal(err)
	}
	server.waitDowns(t, 1)
	bad = dial(t, client, server)
	if _, err := bad.Call(context.Background(), kindPanic); !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v", err)
	}
	server.waitDowns(t, 2)
	server.whenUp(func(*Session) { panic("on purpose") })
	_, _ = client.Dial(context.Background(), server.Address())
	server.waitDowns(t, 3)
	call(t, healthy, "still working")
	if n := server.Stats().Faults[ReasonPanic]; n != 3 {
		t.Fatalf("%d panics counted", n)
	}
	if !strings.Contains(server.logged(), "on purpose") || !strings.Contains(server.logged(), "recorder") {
		t.Fatalf("no panic with a stack in the log: %s", server.logged())
	}
	if n := strings.Count(server.logged(), "[running]"); n != 1 {
		t.Errorf("%d stacks in the log for one kind", n)
	}
}
