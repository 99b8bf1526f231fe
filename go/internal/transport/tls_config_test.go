package transport

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
)

// Whatever an unauthenticated peer tries, it is refused, counted and logged, and a session of the
// cluster goes on working.
func TestUnauthenticatedPeersAreRefused(t *testing.T) {
	attempts := map[string]func(t *testing.T, server *node){
		"another secret": func(t *testing.T, server *node) {
			other := newNode(t, func(o *Options) { o.Secret = Secret("some other secret, as long") })
			_, err := other.Dial(context.Background(), server.Address())
			if err == nil || !strings.Contains(err.Error(), "it has another secret") {
				t.Errorf("got %v", err)
			}
		},
		"no secret": func(t *testing.T, server *node) {
			conn := rawConn(t, server)
			send(t, conn, someHello(t, Peer{}))
			waitClosed(t, conn)
		},
		"no certificate": func(t *testing.T, server *node) {
			tryTLS(t, server, &tls.Config{})
		},
		"own certificate, another key": func(t *testing.T, server *node) {
			_, key, _ := ed25519.GenerateKey(rand.Reader)
			own, err := selfSigned(key)
			if err != nil {
				t.Fatal(err)
			}
			tryTLS(t, server, &tls.Config{Certificates: []tls.Certificate{own}})
		},
		"TLS 1.2": func(t *testing.T, server *node) {
			own := server.security.server.Certificates // although the key is right
			tryTLS(t, server, &tls.Config{Certificates: own, MaxVersion: tls.VersionTLS12})
		},
		"garbage": func(t *testing.T, server *node) {
			conn := rawConn(t, server)
			send(t, conn, []byte("GET / HTTP/1.1\r\n\r\n"))
			waitClosed(t, conn)
		},
	}
	for name, try := range attempts {
		t.Run(name, func(t *testing.T) {
			for _, listen := range []string{"127.0.0.1:0", socketPath(t)} {
				noLeaks(t)
				server := newNode(t, func(o *Options) { o.Listen, o.Secret = []string{listen}, Secret(testSecret) })
				client := newNode(t, func(o *Options) { o.Secret = Secret(testSecret) })
				healthy := dial(t, client, server)
				try(t, server)
				waitFault(t, server, ReasonTLS)
				call(t, healthy, "still working")
				if n := server.Stats().Accepted; n != 1 {
					t.Fatalf("%d sessions were accepted", n)
				}
				if !strings.Contains(server.logged(), "TLS handshake") || strings.Contains(server.logged(), testSecret) {
					t.Fatalf("log: %s", server.logged())
				}
			}
		})
	}
}

// tryTLS connects with a TLS client that trusts any server, and must not get a hello.
func tryTLS(t *testing.T, server *node, config *tls.Config) {
	t.Helper()
	config.InsecureSkipVerify = true
	conn := tls.Client(rawConn(t, server), config)
	if err := conn.Handshake(); err != nil {
		return
	}
	if _, err := readHello(conn); err == nil {
		t.Error("an unauthenticated peer got a hello")
	}
}

func TestAnUnauthenticatedServerIsNotTrusted(t *testing.T) {
	noLeaks(t)
	imposter := newNode(t, func(o *Options) {
		o.Listen, o.Secret = []string{"127.0.0.1:0"}, Secret("some other secret, as long")
	})
	plain := newServer(t, Limits{})
	client := newNode(t, func(o *Options) { o.Secret = Secret(testSecret) })
	for _, server := range []*node{imposter, plain} {
		if _, err := client.Dial(context.Background(), server.Address()); err == nil {
			t.Errorf("got %v", err)
		}
	}
}

// Replaying a recorded session, in full or in part, does not open a session.
func TestAReplayedSessionIsRefused(t *testing.T) {
	noLeaks(t)
	server := newNode(t, func(o *Options) { o.Listen, o.Secret = []string{"127.0.0.1:0"}, Secret(testSecret) })
	client := newNode(t, func(o *Options) { o.Secret = Secret(testSecret) })
	recorded := record(t, server, func(address string) {
		s, err := client.Dial(context.Background(), address)
		if err != nil {
			t.Fatal(err)
		}
		call(t, s, "something worth recording")
		s.Close(nil)
		<-s.Done()
	})
	healthy := dial(t, client, server)
	for i, data := range [][]byte{recorded, recorded[:len(recorded)/2], recorded[:20]} {
		conn := rawConn(t, server)
		send(t, conn, data)
		_ = conn.(*net.TCPConn).CloseWrite()
		waitClosed(t, conn)
		waitFor(t, "the refusal", func() bool { return server.Stats().Faults[ReasonTLS] == uint64(i+1) })
		if i == 0 { // the log has one line for all three
			waitFor(t, "its address in the log", func() bool {
				return strings.Contains(server.logged(), conn.LocalAddr().String())
			})
		}
	}
	call(t, healthy, "still working") // so the server has counted it too
	if n := server.Stats().Accepted; n != 2 {
		t.Errorf("%d sessions were accepted", n)
	}
}

// record calls use with an address that leads to a node, and returns what the first connection to
// that address has sent.
func record(t *testing.T, to *node, use func(address string)) []byte {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	sent := make(chan []byte, 1)
	go func() {
		var all bytes.Buffer
		defer func() { sent <- all.Bytes() }()
		from, err := listener.Accept()
		if err != nil {
			return
		}
		onward, err := net.Dial("tcp", to.Address())
		if err != nil {
			return
		}
		answered := make(chan struct{})
		go func() {
			_, _ = io.Copy(from, onward)
			_ = from.Close()
			close(answered)
		}()
		_, _ = io.Copy(io.MultiWriter(&all, onward), from)
		_ = onward.Close()
		<-answered
	}()
	use(listener.Addr().String())
	return <-sent
}
