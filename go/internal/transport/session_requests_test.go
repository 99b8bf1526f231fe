package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestConcurrentCallsGetTheirOwnAnswers(t *testing.T) {
	eachWay(t, Limits{}, func(t *testing.T, server, client *node) {
		s := dial(t, client, server)
		back := server.session(t, 0)
		var group sync.WaitGroup
		for i := range 16 {
			group.Go(func() {
				for j := range 50 {
					side := []*Session{s, back}[j%2]
					text := strings.Repeat(fmt.Sprint(i, " ", j, " "), 1+j*i*10)
					body, err := side.Call(context.Background(), kindEcho, []byte(text))
					if err != nil || string(body) != text {
						t.Errorf("call %d %d: %v", i, j, err)
					}
				}
			})
		}
		group.Wait()
	})
}

func TestRemoteError(t *testing.T) {
	noLeaks(t)
	server, client := newServer(t, Limits{}), newNode(t, nil)
	s := dial(t, client, server)
	_, err := s.Call(context.Background(), kindFail, []byte("no such thing"))
	var remote *RemoteError
	if !errors.As(err, &remote) || remote.Message != "no such thing" || errors.Is(err, ErrOverload) {
		t.Fatalf("got %v", err)
	}
	_, err = s.Call(context.Background(), kindFail, bytes.Repeat([]byte("ä"), 5000))
	if !errors.As(err, &remote) || len(remote.Message) > maxFailureText || !strings.HasPrefix(remote.Message, "ää") {
		t.Fatalf("got %v", err)
	}
}

func TestCallEndsWithItsContextAndDropsTheLateAnswer(t *testing.T) {
	noLeaks(t)
	server, client := newServer(t, Limits{}), newNode(t, nil)
	s := dial(t, client, server)
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error, 1)
	go func() {
		_, err := s.Call(ctx, kindHold)
		failed <- err
	}()
	waitFor(t, "request", func() bool { _, _, _, held := server.seen(); return held == 1 })
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	s.calls.mu.Lock()
	if n := len(s.calls.callbacks); n != 0 {
		t.Errorf("%d calls still wait", n)
	}
	s.calls.mu.Unlock()
	server.answerHeld([]byte("late"))
	call(t, s, "still working")
	if _, err := s.Call(ctx, kindEcho); !errors.Is(err, context.Canceled) {
		t.Fatalf("a call with an ended context: %v", err)
	}
}

func TestCallsEndWithTheSession(t *testing.T) {
	eachWay(t, Limits{}, func(t *testing.T, server, client *node) {
		s := dial(t, client, server)
		failed := make(chan error, 1)
		go func() {
			_, err := s.Call(context.Background(), kindHold)
			failed <- err
		}()
		waitFor(t, "request", func() bool { _, _, _, held := server.seen(); return held == 1 })
		reason := errors.New("a reason")
		s.Close(reason)
		if err := <-failed; !errors.Is(err, ErrClosed) || !errors.Is(err, reason) {
			t.Fatalf("got %v", err)
		}
		server.waitDowns(t, 1)
		server.answerHeld([]byte("after the end")) // must do nothing
		if downs := client.waitDowns(t, 1); downs[0] != reason {
			t.Fatalf("Down with %v", downs[0])
		}
		if err := s.Send(0); !errors.Is(err, ErrClosed) {
			t.Fatalf("Send: %v", err)
		}
		if _, err := s.Call(context.Background(), kindEcho); !errors.Is(err, ErrClosed) {
			t.Fatalf("Call: %v", err)
		}
	})
}
