package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Everything in this table closes its connection, is counted and logged under its reason,
// and harms no other session.
func TestBrokenInput(t *testing.T) {
	oversized := encodeFrame(typeMessage, 0, 0)
	binary.BigEndian.PutUint32(oversized, 16<<20+1)
	claimsMuch := encodeFrame(typeMessage, 0, 0, []byte("little"))
	binary.BigEndian.PutUint32(claimsMuch, 16<<20)
	version := someHello(t, Peer{})
	version[5]++
	unknownKind := someHello(t, Peer{})
	unknownKind[helloSize-3] = 2
	longAddress := someHello(t, Peer{})
	binary.BigEndian.PutUint16(longAddress[helloSize-2:], maxAddress+1)
	inputs := []struct {
		name    string
		greet   bool // send an honest hello first
		data    []byte
		reason  Reason
		logLine string
	}{
		{"oversized frame", true, oversized, ReasonOversized, "16777217 bytes"},
		{"cut header", true, encodeFrame(typeMessage, 0, 0)[:5], ReasonTruncated, "header of a frame"},
		{"cut body", true, claimsMuch, ReasonTruncated, "body of a frame"},
		{"type 0", true, make([]byte, headerSize), ReasonMalformed, "unknown type 0"},
		{"unknown type", true, encodeFrame(99, 0, 0), ReasonMalformed, "unknown type 99"},
		{"beat with a body", true, encodeFrame(typeBeat, 0, 0, []byte("x")), ReasonMalformed, "beat with a body"},
		{"garbage frame", true, []byte(strings.Repeat("garbage ", 10)), ReasonOversized, "1734439522 bytes"},
		{"garbage hello", false, []byte("GET / HTTP/1.1\r\n\r\n"), ReasonMagic, `"GET "`},
		{"TLS without a secret here", false, []byte{0x16, 3, 1, 0, 200, 1}, ReasonMagic, "speaks TLS"},
		{"wrong version", false, version, ReasonVersion, "version 7 of the protocol, this process version 6"},
		{"no hello", false, nil, ReasonHello, "before its hello was complete"},
		{"cut hello", false, someHello(t, Peer{Address: "there:1"})[:helloSize+1], ReasonHello, "complete"},
		{"cut proof", false, append(someHello(t, Peer{}), 1, 2, 3), ReasonHello, "complete"},
		{"wrong proof", false, append(someHello(t, Peer{}), make([]byte, proofSize)...), ReasonProof, "does not prove"},
		{"unknown kind of connection", false, unknownKind, ReasonHello, "of kind 2"},
		{"address too long", false, longAddress, ReasonHello, "513 bytes"},
		{"unprintable address", false, someHello(t, Peer{Address: "a\nb"}), ReasonHello, `"a\nb"`},
		{"address not UTF-8", false, someHello(t, Peer{Address: "a\xff"}), ReasonHello, `"a\xff"`},
	}
	for _, in := range inputs {
		t.Run(in.name, func(t *testing.T) {
			noLeaks(t)
			server, client := newServer(t, Limits{}), newNode(t, nil)
			healthy := dial(t, client, server)
			conn := rawConn(t, server)
			if in.greet {
				conn = greetedConn(t, server)
			}
			send(t, conn, in.data)
			if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			waitFault(t, server, in.reason)
			waitClosed(t, conn)
			waitFor(t, "log line with address", func() bool {
				return strings.Contains(server.logged(), in.logLine) &&
					strings.Contains(server.logged(), fmt.Sprintf("process %d, a client of %s", os.Getpid(), server.Address()))
			})
			call(t, healthy, "still working")
		})
	}
}

func TestFaultsAreLoggedOnceInAWhile(t *testing.T) {
	noLeaks(t)
	server := newServer(t, Limits{})
	const n = 20
	for range n {
		conn := rawConn(t, server)
		send(t, conn, []byte("garbage"))
		waitClosed(t, conn)
	}
	waitFor(t, "counts", func() bool { return server.Stats().Faults[ReasonMagic] == n })
	if lines := strings.Count(server.logged(), "\n") + 1; lines != 1 {
		t.Fatalf("%d lines for %d faults", lines, n)
	}
	later := time.Now().Add(logEvery)
	if muted, logNow := server.faults.throttle.allow(string(ReasonMagic), later); !logNow || muted != n-1 {
		t.Fatalf("later: %v, %d muted", logNow, muted)
	}
}

// A wrong version is told to both sides: the listener's hello arrives although it refuses.
func TestWrongVersionIsKnownAtBothSides(t *testing.T) {
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

func TestSilentConnectionsInHandshakeAreBounded(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			noLeaks(t)
			limits := Limits{PendingHandshakes: 16, HandshakeTimeout: patience}
			server := newNode(t, func(o *Options) { o.Listen, o.Secret, o.Limits = []string{way.listen(t)}, way.secret, limits })
			client := newNode(t, func(o *Options) { o.Secret = way.secret })
			healthy := dial(t, client, server)
			call(t, healthy, "in handshake no more") // where it could be the oldest
			const n = 300
			conns := make([]net.Conn, n)
			for i := range conns {
				conns[i] = rawConn(t, server)
			}
			waitFor(t, "refusals", func() bool {
				stats := server.Stats()
				return stats.PendingHandshakes == 16 && stats.Faults[ReasonBusy] == n-16
			})
			call(t, healthy, "still working")
			call(t, dial(t, newNode(t, func(o *Options) { o.Secret = way.secret }), server), "let in meanwhile")
			if n := server.Stats().PendingHandshakes; n != 15 {
				t.Errorf("%d in handshake", n)
			}
			for _, conn := range conns {
				_ = conn.Close()
			}
			waitFor(t, "room", func() bool { return server.Stats().PendingHandshakes == 0 })
			call(t, dial(t, client, server), "room again")
		})
	}
}

// A peer gets in at any time, and what the flood costs does not grow with it.
func TestAFloodOfSilentConnections(t *testing.T) {
	noLeaks(t)
	server := newNode(t, func(o *Options) { o.Listen, o.Secret = []string{"127.0.0.1:0"}, Secret(testSecret) })
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	const total, held = 10000, 1000
	flood := make([]net.Conn, held) // what this test itself can hold open
	for i := range total {
		if old := flood[i%held]; old != nil {
			_ = old.Close()
		}
		flood[i%held] = rawConn(t, server)
		if i%500 == 499 {
			peer := newNode(t, func(o *Options) { o.Secret = Secret(testSecret) })
			call(t, dial(t, peer, server), "a peer")
			peer.Close()
		}
	}
	stats := server.Stats()
	if stats.Accepted != total/500 || stats.PendingHandshakes > server.limits.PendingHandshakes {
		t.Errorf("%d peers came in, %d connections are in handshake", stats.Accepted, stats.PendingHandshakes)
	}
	if lines := strings.Count(server.logged(), "came while it was in handshake"); lines > 10 {
		t.Errorf("%d lines in the log", lines)
	}
	// An ousted one may still be ending.
	waitFor(t, "a bounded number of goroutines and files", func() bool {
		return runtime.NumGoroutine() < goroutines+server.limits.PendingHandshakes+100 &&
			openFiles(t) < files+held+server.limits.PendingHandshakes+100
	})
	for _, conn := range flood {
		_ = conn.Close()
	}
	waitFor(t, "what the flood has taken to be given back", func() bool {
		return server.Stats().PendingHandshakes == 0 && openFiles(t) <= files+10
	})
}

func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestHandshakeHasADeadline(t *testing.T) {
	eachWay(t, Limits{HandshakeTimeout: 50 * time.Millisecond}, func(t *testing.T, server, _ *node) {
		waitClosed(t, rawConn(t, server))
		waitFault(t, server, ReasonHandshakeTimeout)
	})
}

func TestDialHasADeadline(t *testing.T) {
	noLeaks(t)
	listener, address := rawListener(t) // accepts by its backlog only
	defer func() { _ = listener.Close() }()
	for _, secret := range []Secret{nil, Secret(testSecret)} {
		client := newNode(t, func(o *Options) { o.Secret, o.Limits = secret, Limits{HandshakeTimeout: 50 * time.Millisecond} })
		_, err := client.Dial(context.Background(), address)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		client = newNode(t, func(o *Options) { o.Secret = secret })
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(10*time.Millisecond, cancel)
		if _, err = client.Dial(ctx, address); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
}

func TestSessionsAreBounded(t *testing.T) {
	noLeaks(t)
	server, client := newServer(t, Limits{Sessions: 2}), newNode(t, nil)
	first := dial(t, client, server)
	dial(t, client, server)
	server.session(t, 1)
	waitClosed(t, greetedConn(t, server))
	waitFault(t, server, ReasonBusy)
	call(t, first, "still working")
}

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

func TestPendingRequestsAreBounded(t *testing.T) {
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

// Who asks and does not read the answers cannot make the other side queue without end.
func TestFloodOfRequestsEndsTheSession(t *testing.T) {
	noLeaks(t)
	server, client := newServer(t, Limits{Frame: 1 << 20, QueueBytes: 2 << 20}), newNode(t, nil)
	healthy := dial(t, client, server)
	conn := greetedConn(t, server)
	request := encodeFrame(typeRequest, kindEcho, 1, make([]byte, 64<<10))
	for i := 0; ; i++ {
		if _, err := conn.Write(request); err != nil {
			break
		}
		if i > 10000 {
			t.Fatal("the session still lives")
		}
	}
	// The bytes run out before the frames do: answers become failures, which need less.
	waitFor(t, "end of the session", func() bool { _, downs, _, _ := server.seen(); return downs == 1 })
	call(t, healthy, "still working")
}

func TestAPeerThatDoesNotReadIsClosed(t *testing.T) {
	eachWay(t, Limits{WriteTimeout: 100 * time.Millisecond}, func(t *testing.T, server, client *node) {
		s := dial(t, client, server)
		if err := server.session(t, 0).Send(kindHang); err != nil { // stops the client's reader
			t.Fatal(err)
		}
		other := dial(t, client, server)
		call(t, other, "before")
		waitFor(t, "the peer closed the session", func() bool {
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

func TestASilentPeerIsClosed(t *testing.T) {
	noLeaks(t)
	server := newServer(t, Limits{ReadTimeout: 100 * time.Millisecond, Heartbeat: 10 * time.Millisecond})
	waitClosed(t, greetedConn(t, server))
	waitFault(t, server, ReasonReadTimeout)
}

func TestBeatsKeepAnIdleSession(t *testing.T) {
	eachWay(t, Limits{ReadTimeout: 2 * time.Second, Heartbeat: 20 * time.Millisecond}, func(t *testing.T, server, client *node) {
		s := dial(t, client, server)
		// Each side hears of the other although nobody sends.
		waitFor(t, "beats", func() bool { return client.Stats().FramesIn > 5 && server.Stats().FramesIn > 5 })
		call(t, s, "still there")
		if _, _, messages, held := server.seen(); messages+held != 0 {
			t.Fatal("the handler saw a beat")
		}
	})
}

// A frame that arrives piece by piece is no silence, and needs memory only as it arrives.
func TestASlowFrameIsRead(t *testing.T) {
	noLeaks(t)
	server := newServer(t, Limits{})
	conn := greetedConn(t, server)
	body := strings.Repeat("slow ", 40000)
	data := encodeFrame(typeMessage, 0, 0, []byte(body))
	for len(data) > 0 {
		n := min(len(data), 7777)
		send(t, conn, data[:n])
		data = data[n:]
	}
	waitFor(t, "message", func() bool { _, _, messages, _ := server.seen(); return messages == 1 })
	if server.messages[0] != body {
		t.Fatal("another body arrived")
	}
}
