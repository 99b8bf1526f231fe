package transport

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestOverloadOfTheQueue(t *testing.T) {
	eachWay(t, Limits{Frame: 1 << 20, QueueBytes: 4 << 20, QueueFrames: 1000}, func(t *testing.T, server, client *node) {
		for _, size := range []int{1 << 20, 0} { // bounded in bytes, and in frames
			s := dial(t, client, server)
			if err := s.Send(kindHang); err != nil {
				t.Fatal(err)
			}
			body := make([]byte, size)
			var err error
			for sent := 0; err == nil; sent++ {
				if sent > 1<<20 {
					t.Fatal("the queue is not bounded")
				}
				err = s.Send(0, body)
			}
			if !errors.Is(err, ErrOverload) {
				t.Fatalf("got %v", err)
			}
			server.hang <- struct{}{}
			waitFor(t, "room in the queue", func() bool { return s.Send(0) == nil })
			call(t, s, "working again")
		}
		if client.Stats().Overloads == 0 {
			t.Fatal("not counted")
		}
	})
}

func TestTooLargeBodies(t *testing.T) {
	noLeaks(t)
	limits := Limits{Frame: 1000, QueueBytes: 3000}
	server, client := newServer(t, limits), newNode(t, func(o *Options) { o.Limits = limits })
	s := dial(t, client, server)
	if err := s.Send(0, make([]byte, 500), make([]byte, 501)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("Send: %v", err)
	}
	if _, err := s.Call(context.Background(), kindEcho, make([]byte, 1001)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("Call: %v", err)
	}
	var remote *RemoteError
	if _, err := s.Call(context.Background(), kindSize, []byte{0, 0, 3, 0xe9}); !errors.As(err, &remote) {
		t.Fatalf("an answer of 1001 bytes: %v", err)
	}
	call(t, s, strings.Repeat("x", 1000))
}

func TestUnansweredRequestsAreBounded(t *testing.T) {
	noLeaks(t)
	server, client := newServer(t, Limits{Requests: 3}), newNode(t, nil)
	s := dial(t, client, server)
	done := make(chan error, 3)
	for range 3 {
		go func() {
			_, err := s.Call(context.Background(), kindHold)
			done <- err
		}()
	}
	waitFor(t, "requests", func() bool { _, _, _, held := server.seen(); return held == 3 })
	_, err := s.Call(context.Background(), kindEcho)
	var remote *RemoteError
	if !errors.Is(err, ErrOverload) || !errors.As(err, &remote) {
		t.Fatalf("got %v", err)
	}
	server.answerHeld(nil)
	for range 3 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	call(t, s, "room again")
}

// A peer that sends requests and does not read the answers cannot fill the memory of the other side.
func TestFloodOfRequestsEndsTheSession(t *testing.T) {
	noLeaks(t)
	server, client := newServer(t, Limits{Frame: 1 << 20, QueueBytes: 2 << 20}), newNode(t, nil)
	healthy := dial(t, client, server)
	conn := handshakenConn(t, server)
	request := encodeFrame(typeRequest, kindEcho, 1, make([]byte, 64<<10))
	for i := 0; ; i++ {
		if _, err := conn.Write(request); err != nil {
			break
		}
		if i > 10000 {
			t.Fatal("the session still lives")
		}
	}
	// The limit in bytes is reached before that in frames: answers become failures, which need less.
	waitFor(t, "end of the session", func() bool { _, downs, _, _ := server.seen(); return downs == 1 })
	call(t, healthy, "still working")
}

func TestTheWriteTimeoutEndsASession(t *testing.T) {
	eachWay(t, Limits{WriteTimeout: 100 * time.Millisecond}, func(t *testing.T, server, client *node) {
		s := dial(t, client, server)
		if err := server.session(t, 0).Send(kindHang); err != nil { // stops the client's reader
			t.Fatal(err)
		}
		other := dial(t, client, server)
		call(t, other, "before")
		waitFor(t, "the session has ended", func() bool {
			back := server.session(t, 0)
			return errors.Is(back.Send(0, make([]byte, 1<<20)), ErrClosed)
		})
		waitFault(t, server, ReasonWriteTimeout)
		call(t, other, "still working")
		close(client.hang)
		client.waitDowns(t, 1)
		if err := s.Send(0); !errors.Is(err, ErrClosed) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestTheReadTimeoutEndsASession(t *testing.T) {
	noLeaks(t)
	server := newServer(t, Limits{ReadTimeout: 100 * time.Millisecond, Heartbeat: 10 * time.Millisecond})
	waitClosed(t, handshakenConn(t, server))
	waitFault(t, server, ReasonReadTimeout)
}

func TestHeartbeatsKeepAnIdleSession(t *testing.T) {
	eachWay(t, Limits{ReadTimeout: 2 * time.Second, Heartbeat: 20 * time.Millisecond}, func(t *testing.T, server, client *node) {
		s := dial(t, client, server)
		// Frames arrive at both sides although the application sends none.
		waitFor(t, "heartbeats", func() bool { return client.Stats().FramesIn > 5 && server.Stats().FramesIn > 5 })
		call(t, s, "still there")
		if _, _, messages, held := server.seen(); messages+held != 0 {
			t.Fatal("the handler saw a heartbeat")
		}
	})
}
