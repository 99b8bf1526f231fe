package transport

import (
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestPendingHandshakesAreBounded(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			noLeaks(t)
			limits := Limits{PendingHandshakes: 16, HandshakeTimeout: patience}
			server := newNode(t, func(o *Options) { o.Listen, o.Secret, o.Limits = []string{way.listen(t)}, way.secret, limits })
			client := newNode(t, func(o *Options) { o.Secret = way.secret })
			healthy := dial(t, client, server)
			call(t, healthy, "its handshake is over") // else it could be the oldest
			const n = 300
			conns := make([]net.Conn, n)
			for i := range conns {
				conns[i] = rawConn(t, server)
			}
			waitFor(t, "evictions", func() bool {
				stats := server.Stats()
				return stats.PendingHandshakes == 16 && stats.Faults[ReasonBusy] == n-16
			})
			call(t, healthy, "still working")
			call(t, dial(t, newNode(t, func(o *Options) { o.Secret = way.secret }), server), "connected meanwhile")
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

// A peer can connect at any time, and the cost of a flood does not grow with its size.
func TestAFloodOfPendingHandshakes(t *testing.T) {
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
	// The goroutine of an evicted connection may still be running.
	waitFor(t, "a bounded number of goroutines and files", func() bool {
		return runtime.NumGoroutine() < goroutines+server.limits.PendingHandshakes+100 &&
			openFiles(t) < files+held+server.limits.PendingHandshakes+100
	})
	for _, conn := range flood {
		_ = conn.Close()
	}
	waitFor(t, "release of what the flood has taken", func() bool {
		return server.Stats().PendingHandshakes == 0 && openFiles(t) <= files+10
	})
}

func TestHandshakeHasADeadline(t *testing.T) {
	eachWay(t, Limits{HandshakeTimeout: 50 * time.Millisecond}, func(t *testing.T, server, _ *node) {
		waitClosed(t, rawConn(t, server))
		waitFault(t, server, ReasonHandshakeTimeout)
	})
}

// The flood comes from one source and a peer from another: however slow the peer is, it is never the
// oldest of the busiest source.
func TestASlowHandshakeOutlastsAFloodFromAnotherSource(t *testing.T) {
	noLeaks(t)
	server := newNode(t, func(o *Options) {
		o.Listen, o.Self.Address, o.Secret = []string{"0.0.0.0:0"}, "127.0.0.1", Secret(testSecret)
		o.Limits = Limits{PendingHandshakes: 8, HandshakeTimeout: patience}
	})
	_, port, _ := net.SplitHostPort(server.listener.Addr().String())
	slow := connFrom(t, "127.0.0.3", port)
	waitFor(t, "it is in handshake", func() bool { return server.Stats().PendingHandshakes == 1 })
	for range 50 {
		connFrom(t, "127.0.0.2", port)
	}
	waitFor(t, "the flood is closed", func() bool { return server.Stats().Faults[ReasonBusy] == 50+1-8 })
	if err := slow.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Errorf("it was closed: %v", err)
	}
}

// An evicted connection holds its descriptor until its goroutine ends, and later connections wait for that.
func TestAnEvictedHandshakeHoldsItsDescriptorUntilItEnds(t *testing.T) {
	noLeaks(t)
	p, done := newPending(4), make(chan struct{})
	var all []*pendingConn
	for range 5 {
		conn, other := net.Pipe()
		t.Cleanup(func() { _, _ = conn.Close(), other.Close() })
		c, ok := p.add(conn, done)
		if !ok {
			t.Fatal("refused although there is room")
		}
		all = append(all, c)
	}
	if p.len() != 4 || !all[0].evicted.Load() || all[1].evicted.Load() {
		t.Errorf("%d are in handshake", p.len())
	}
	conn, other := net.Pipe()
	t.Cleanup(func() { _, _ = conn.Close(), other.Close() })
	added := make(chan bool)
	go func() {
		_, ok := p.add(conn, done)
		added <- ok
	}()
	select {
	case <-added:
		t.Fatal("one more has got a place")
	case <-time.After(20 * time.Millisecond):
	}
	p.remove(all[0])
	if !<-added {
		t.Error("it gets no place although there is room")
	}
	close(done)
	if _, ok := p.add(conn, done); ok {
		t.Error("it gets a place after the end")
	}
}
