package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"guillotina_groupcache/internal/bridge"
)

// eventLoop is a watch, and a loop that serves it until the end of the test, as Python's does.
func eventLoop(t testing.TB) *bridge.Watch {
	t.Helper()
	watch, err := bridge.NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var loop sync.WaitGroup
	loop.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			fds := []unix.PollFd{{Fd: int32(watch.FD()), Events: unix.POLLIN}}
			if n, _ := unix.Poll(fds, 20); n > 0 {
				watch.Ready()
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		loop.Wait()
		watch.Close()
	})
	return watch
}

// idle is a watcher whose process never comes to read.
type idle struct{}

func (idle) Add(int, func()) (func(), error) { return func() {}, nil }

func dialLane(t testing.TB, from, to *node, watcher Watcher) *Lane {
	t.Helper()
	l, peer, err := from.DialLane(context.Background(), to.Address(), watcher)
	if err != nil {
		t.Fatal(err)
	}
	if peer != to.self {
		t.Errorf("%v answers, want %v", peer, to.self)
	}
	t.Cleanup(func() { l.Close(nil) })
	return l
}

// ask sends a request whose result comes over the channel.
func ask(l *Lane, within time.Duration, kind FrameKind, body []byte) chan result {
	c := make(chan result, 1)
	l.CallAsync(within, func(body []byte, err error) { c <- result{body, err} }, kind, body)
	return c
}

func await(t testing.TB, c chan result) ([]byte, error) {
	t.Helper()
	select {
	case r := <-c:
		return r.body, r.err
	case <-time.After(patience):
		t.Fatal("a request was never finished")
		return nil, nil
	}
}

func wantEcho(t testing.TB, l *Lane, body []byte) {
	t.Helper()
	if got, err := await(t, ask(l, patience, kindEcho, body)); err != nil || !bytes.Equal(got, body) {
		t.Fatalf("echo of %d bytes: %d bytes, %v", len(body), len(got), err)
	}
}

func TestALaneAsksAndThePeerKnowsItForOne(t *testing.T) {
	eachWay(t, Limits{}, func(t *testing.T, server, client *node) {
		l := dialLane(t, client, server, eventLoop(t))
		if peer := server.session(t, 0).Peer(); !peer.Lane || peer.Incarnation != client.self.Incarnation {
			t.Errorf("the peer sees %v", peer)
		}
		for size := 0; size < maxAsked; size = 2*size + 1 {
			wantEcho(t, l, bytes.Repeat([]byte{'x'}, size))
		}
		// An answer that comes in many pieces, of which one ends anywhere.
		for _, size := range []uint32{0, 1, 16370, 16371, 1 << 20, 5<<20 + 1} {
			got, err := await(t, ask(l, patience, kindSize, binary.BigEndian.AppendUint32(nil, size)))
			if err != nil || len(got) != int(size) {
				t.Errorf("answer of %d bytes: %d, %v", size, len(got), err)
			}
		}
		l.mu.Lock() // the loop may still be looking whether there is more
		if cap(l.arrived) > 2*readStep {
			t.Errorf("%d bytes are kept after a large answer", cap(l.arrived))
		}
		l.mu.Unlock()
		var remote *RemoteError
		if _, err := await(t, ask(l, patience, kindFail, []byte("no such thing"))); !errors.As(err, &remote) {
			t.Errorf("a failed request gave %v", err)
		}
	})
}

func TestAnswersOfALaneComeInAnyOrderAndToWhoAsked(t *testing.T) {
	eachWay(t, Limits{}, func(t *testing.T, server, client *node) {
		l := dialLane(t, client, server, eventLoop(t))
		held := ask(l, patience, kindHold, []byte("held"))
		var group sync.WaitGroup
		for i := range 16 {
			group.Go(func() {
				for j := range 50 {
					text := []byte(strings.Repeat(fmt.Sprint(i, " ", j, " "), 1+j))
					if got, err := await(t, ask(l, patience, kindEcho, text)); err != nil || !bytes.Equal(got, text) {
						t.Errorf("request %d %d: %v", i, j, err)
					}
				}
			})
		}
		group.Wait()
		server.answerHeld([]byte("at last"))
		if got, err := await(t, held); err != nil || string(got) != "at last" {
			t.Errorf("the one that was held: %q, %v", got, err)
		}
	})
}

func TestTickReadsWhatNobodyCameFor(t *testing.T) {
	eachWay(t, Limits{}, func(t *testing.T, server, client *node) {
		l := dialLane(t, client, server, idle{})
		c := ask(l, patience, kindEcho, []byte("hello"))
		waitFor(t, "the answer", func() bool { l.Tick(); return len(c) == 1 })
		if got, err := await(t, c); err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestARequestOfALaneHasADeadline(t *testing.T) {
	noLeaks(t)
	server, client := newServer(t, Limits{}), newNode(t, nil)
	l := dialLane(t, client, server, eventLoop(t))
	late, other := ask(l, time.Nanosecond, kindHold, nil), ask(l, patience, kindHold, nil)
	waitFor(t, "both requests", func() bool { _, _, _, held := server.seen(); return held == 2 })
	l.Tick()
	if _, err := await(t, late); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the late one ended with %v", err)
	}
	server.answerHeld([]byte("too late for one"))
	if got, err := await(t, other); err != nil || string(got) != "too late for one" {
		t.Errorf("the other one: %q, %v", got, err)
	}
	wantEcho(t, l, []byte("the lane lives"))
}

// The peer hears from an idle lane, and wakes nobody with an answer to that.
func TestAnIdleLaneLivesAndIsSilent(t *testing.T) {
	noLeaks(t)
	server := newServer(t, Limits{Heartbeat: 20 * time.Millisecond, ReadTimeout: time.Second})
	client := newNode(t, func(o *Options) { o.Limits = Limits{Heartbeat: 20 * time.Millisecond} })
	l := dialLane(t, client, server, eventLoop(t))
	heard := server.Stats().FramesIn
	waitFor(t, "beats for longer than silence may last", func() bool { l.Tick(); return server.Stats().FramesIn > heard+100 })
	if n := client.Stats().FramesIn; n != 0 {
		t.Errorf("%d frames came over an idle lane", n)
	}
	wantEcho(t, l, []byte("alive"))
	// Without a sign of life the peer ends it.
	select {
	case <-l.Done():
	case <-time.After(patience):
		t.Error("a lane that nobody ticks lives on")
	}
	waitFault(t, server, ReasonReadTimeout)
}

func TestWhatEndsALane(t *testing.T) {
	ends := map[string]func(t *testing.T, server, client *node, l *Lane){
		"this side":                func(_ *testing.T, _, _ *node, l *Lane) { l.Close(nil) },
		"the peer's session":       func(t *testing.T, server, _ *node, _ *Lane) { server.session(t, 0).Close(errors.New("x")) },
		"the peer's end":           func(_ *testing.T, server, _ *node, _ *Lane) { server.Close() },
		"the end of its transport": func(_ *testing.T, _, client *node, _ *Lane) { client.Close() },
		"a panic of who waits": func(_ *testing.T, _, _ *node, l *Lane) {
			l.CallAsync(patience, func([]byte, error) { panic("x") }, kindEcho)
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			eachWay(t, Limits{DrainTimeout: 100 * time.Millisecond}, func(t *testing.T, server, client *node) {
				l := dialLane(t, client, server, eventLoop(t))
				waits := ask(l, patience, kindHold, nil)
				waitFor(t, "the request", func() bool { _, _, _, held := server.seen(); return held == 1 })
				end(t, server, client, l)
				if _, err := await(t, waits); !errors.Is(err, ErrClosed) {
					t.Errorf("who waits gets %v", err)
				}
				<-l.Done()
				if _, err := await(t, ask(l, patience, kindEcho, nil)); !errors.Is(err, ErrClosed) {
					t.Errorf("who asks then gets %v", err)
				}
				waitFor(t, "it is forgotten", func() bool { return client.Stats().Sessions == 0 })
			})
		})
	}
}

// answering is a listener that greets one lane and then writes what the test says.
func answering(t *testing.T, write func(net.Conn)) string {
	listener, address := rawListener(t)
	t.Cleanup(func() { _ = listener.Close() })
	identity := newIdentity(t)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		if err := handshakeRaw(conn, identity, false); err != nil {
			return
		}
		_, _ = conn.Write(encodeVerdict(nil))
		write(conn)
	}()
	return address
}

func TestBrokenInputEndsALaneAndNothingElse(t *testing.T) {
	tooLong := encodeFrame(typeAnswer, 0, 1)
	binary.BigEndian.PutUint32(tooLong, 16<<20+1)
	for name, in := range map[string]struct {
		data   []byte
		reason Reason
	}{
		"oversized": {tooLong, ReasonOversized},
		"type 0":    {make([]byte, headerSize), ReasonMalformed},
		"a message": {encodeFrame(typeMessage, 1, 0), ReasonMalformed},
		"a request": {encodeFrame(typeRequest, 1, 0), ReasonMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			client := newNode(t, nil)
			address := answering(t, func(conn net.Conn) {
				send(t, conn, append(encodeFrame(typeAnswer, 0, 99, []byte("to nobody")), in.data...))
				_, _ = io.Copy(io.Discard, conn)
			})
			l, _, err := client.DialLane(context.Background(), address, eventLoop(t))
			if err != nil {
				t.Fatal(err)
			}
			<-l.Done()
			waitFault(t, client, in.reason)
		})
	}
}

func TestAPeerThatDoesNotReadEndsTheLane(t *testing.T) {
	noLeaks(t)
	client := newNode(t, func(o *Options) { o.Limits = Limits{Requests: 1 << 20} })
	goOn := make(chan struct{})
	address := answering(t, func(net.Conn) { <-goOn })
	defer close(goOn)
	l, _, err := client.DialLane(context.Background(), address, eventLoop(t))
	if err != nil {
		t.Fatal(err)
	}
	first := ask(l, patience, kindEcho, nil)
	for l.Tick(); len(first) == 0; {
		l.CallAsync(patience, func([]byte, error) {}, kindEcho, make([]byte, maxAsked))
	}
	if _, err := await(t, first); !errors.Is(err, ErrClosed) {
		t.Errorf("who waits gets %v", err)
	}
	waitFault(t, client, ReasonWriteTimeout)
}

func TestWhatALaneRefuses(t *testing.T) {
	noLeaks(t)
	server, client := newServer(t, Limits{}), newNode(t, func(o *Options) { o.Limits = Limits{Requests: 2} })
	l := dialLane(t, client, server, eventLoop(t))
	if _, err := await(t, ask(l, patience, kindEcho, make([]byte, maxAsked+1))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large a request gives %v", err)
	}
	ask(l, patience, kindHold, nil)
	ask(l, patience, kindHold, nil)
	if _, err := await(t, ask(l, patience, kindEcho, nil)); !errors.Is(err, ErrOverload) {
		t.Errorf("one request too many gives %v", err)
	}
}

func TestLanesBeyondTheThreadsAreServedAsWell(t *testing.T) {
	eachWay(t, Limits{PerProcess: 2 * laneThreads}, func(t *testing.T, server, client *node) {
		watch := eventLoop(t)
		processors := runtime.GOMAXPROCS(0)
		var lanes []*Lane
		for range laneThreads + 3 {
			lanes = append(lanes, dialLane(t, client, server, watch))
		}
		for _, l := range lanes {
			wantEcho(t, l, []byte("hello"))
		}
		if n := server.blocking.Load(); n != laneThreads {
			t.Errorf("%d lanes have a thread", n)
		}
		if n := runtime.GOMAXPROCS(0); n != processors+laneThreads {
			t.Errorf("%d processors, %d without lanes", n, processors)
		}
		for _, l := range lanes {
			l.Close(nil)
		}
		waitFor(t, "no thread", func() bool { return server.blocking.Load() == 0 })
		if n := runtime.GOMAXPROCS(0); n != processors {
			t.Errorf("%d processors are left of %d", n, processors)
		}
	})
}

// A peer that asks for much and reads nothing costs its own connection, with a thread or without.
func TestALaneThatDoesNotReadIsEnded(t *testing.T) {
	eachWay(t, Limits{WriteTimeout: 200 * time.Millisecond, Heartbeat: 20 * time.Millisecond}, func(t *testing.T, server, client *node) {
		l := dialLane(t, client, server, idle{})
		for range 20 {
			ask(l, patience, kindSize, binary.BigEndian.AppendUint32(nil, 1<<20))
		}
		waitFault(t, server, ReasonWriteTimeout)
		server.waitDowns(t, 1)
	})
}

// The end of a round is an end also where there is always more to read.
func TestOneRoundReadsNoMoreThanItsSize(t *testing.T) {
	fd, err := unix.Open("/dev/zero", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &laneSocket{fd: fd}
	s.detached.Store(true)
	defer func() { _ = s.Close() }()
	for range 2 {
		s.begin()
		read, buf := 0, make([]byte, bufferSize)
		for {
			n, err := s.Read(buf)
			if err == errNothing {
				break
			}
			if read += n; err != nil || read > roundSize {
				t.Fatalf("%d bytes in one round, %v", read, err)
			}
		}
		if read != roundSize {
			t.Errorf("%d bytes in one round", read)
		}
	}
}

func TestALaneForWhichThereIsNoRoom(t *testing.T) {
	eachWay(t, Limits{}, func(t *testing.T, server, _ *node) {
		client := newNode(t, func(o *Options) { o.Secret, o.Limits = secretOf(server), Limits{Sessions: 1} })
		watch := eventLoop(t)
		dialLane(t, client, server, watch)
		if _, _, err := client.DialLane(context.Background(), server.Address(), watch); !errors.Is(err, ErrOverload) {
			t.Errorf("one lane too many gives %v", err)
		}
		server.waitDowns(t, 1) // its connection is closed
		if n := client.Stats().Sessions; n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

// secretOf is the secret of the tests, where a node has one.
func secretOf(n *node) Secret {
	if n.security == nil {
		return nil
	}
	return Secret(testSecret)
}
