package transport

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

func TestCloseOfATransport(t *testing.T) {
	eachWay(t, Limits{DrainTimeout: patience}, func(t *testing.T, server, client *node) {
		s := dial(t, client, server)
		server.session(t, 0)
		address := server.Address()
		server.Close()
		server.Close()
		if _, downs, _, _ := server.seen(); downs != 1 {
			t.Fatal("Close returned before Down")
		}
		client.waitDowns(t, 1)
		if _, err := s.Call(context.Background(), kindEcho); !errors.Is(err, ErrClosed) {
			t.Fatalf("got %v", err)
		}
		// The file of a unix socket is removed, and what is not there refuses nothing.
		_, err := client.Dial(context.Background(), address)
		if removed := errors.Is(err, fs.ErrNotExist); removed != strings.HasPrefix(address, unixPrefix) ||
			!removed && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("got %v", err)
		}
		if _, err := server.Dial(context.Background(), address); !errors.Is(err, ErrClosed) {
			t.Fatalf("got %v", err)
		}
		if err := server.Listen(); !errors.Is(err, ErrClosed) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestCloseWaitsForAHangingHandlerOnlyForAWhile(t *testing.T) {
	noLeaks(t)
	server, client := newServer(t, Limits{DrainTimeout: 1e6}), newNode(t, nil)
	s := dial(t, client, server)
	if err := s.Send(kindHang); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "arrival", func() bool { return server.Stats().FramesIn > 0 })
	server.Close()
	if !strings.Contains(server.logged(), "does not return") {
		t.Fatalf("log: %s", server.logged())
	}
	close(server.hang)
}

func TestStats(t *testing.T) {
	noLeaks(t)
	server, client := newServer(t, Limits{}), newNode(t, nil)
	s := dial(t, client, server)
	call(t, s, "12345")
	waitFor(t, "counters", func() bool {
		c, a := client.Stats(), server.Stats()
		return c.Sessions == 1 && c.Dialled == 1 && c.Accepted == 0 && a.Dialled == 0 && a.Accepted == 1 &&
			c.FramesOut >= 1 && c.BytesOut >= headerSize+5 && c.FramesIn >= 1 && c.BytesIn >= headerSize+5
	})
	s.Close(nil)
	waitFor(t, "no sessions", func() bool { return client.Stats().Sessions == 0 && server.Stats().Sessions == 0 })
}
