package transport

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

func TestAnIncarnationComesFromTheKey(t *testing.T) {
	seen := map[uint64]bool{}
	for range 1000 {
		n := newIdentity(t).Incarnation()
		if int64(n) <= 0 || seen[n] {
			t.Fatalf("incarnation %d is not unique, or does not fit the members table", n)
		}
		seen[n] = true
	}
	identity := newIdentity(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, value := range []any{identity, Options{Identity: identity}, &Options{Identity: identity}} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, fmt.Sprintf("%x", identity.key.Seed())) || strings.Contains(text, fmt.Sprint(identity.key.Seed()[:3])[1:8]) {
				t.Errorf("%s shows the key: %s", verb, text)
			}
		}
	}
}

// insider connects as a process that has the cluster's secret and sends any hello that it likes. It
// returns the connection and the hello of the other side.
func insider(t *testing.T, to *node, secret Secret, own hello) (conn net.Conn, other hello) {
	t.Helper()
	conn = rawConn(t, to)
	if secret != nil {
		security, err := fromSecret(secret)
		if err != nil {
			t.Fatal(err)
		}
		conn = tls.Client(conn, security.server)
	}
	send(t, conn, own.encode())
	other, err := readHello(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, other
}

// A process that has the secret can connect, but only under its own incarnation.
func TestAnInsiderCannotBeAnother(t *testing.T) {
	attacks := map[string]func(t *testing.T, server *node, secret Secret, victim *Identity) net.Conn{
		"the victim's public key, its own signature": func(t *testing.T, server *node, secret Secret, victim *Identity) net.Conn {
			own := victim.newHello(Peer{})
			conn, other := insider(t, server, secret, own)
			bound, _ := binding(conn)
			send(t, conn, ed25519.Sign(newIdentity(t).key, proofOf(roleDialler, bound, own, other)))
			return conn
		},
		"the victim's public key, for a lane": func(t *testing.T, server *node, secret Secret, victim *Identity) net.Conn {
			own := victim.newHello(Peer{Lane: true})
			conn, other := insider(t, server, secret, own)
			bound, _ := binding(conn)
			send(t, conn, ed25519.Sign(newIdentity(t).key, proofOf(roleDialler, bound, own, other)))
			return conn
		},
		"the victim's proof of another connection": func(t *testing.T, server *node, secret Secret, victim *Identity) net.Conn {
			own := victim.newHello(Peer{}) // recorded with the proof below
			conn, other := insider(t, server, secret, own)
			bound, _ := binding(conn)
			old := ed25519.Sign(victim.key, proofOf(roleDialler, bound, own, other))
			again, _ := insider(t, server, secret, own)
			send(t, again, old)
			return again
		},
		"the victim's proof for another nonce of its own": func(t *testing.T, server *node, secret Secret, victim *Identity) net.Conn {
			own := victim.newHello(Peer{})
			conn, other := insider(t, server, secret, own)
			bound, _ := binding(conn)
			send(t, conn, ed25519.Sign(victim.key, proofOf(roleDialler, bound, victim.newHello(Peer{}), other)))
			return conn
		},
		"the victim's proof for another address": func(t *testing.T, server *node, secret Secret, victim *Identity) net.Conn {
			said := victim.newHello(Peer{})
			own := said
			own.peer.Address = "127.0.0.1:1"
			conn, other := insider(t, server, secret, own)
			bound, _ := binding(conn)
			send(t, conn, ed25519.Sign(victim.key, proofOf(roleDialler, bound, said, other)))
			return conn
		},
		"the listener's own hello and proof, sent back to it": func(t *testing.T, server *node, secret Secret, _ *Identity) net.Conn {
			conn := rawConn(t, server)
			if secret != nil {
				security, err := fromSecret(secret)
				if err != nil {
					t.Fatal(err)
				}
				conn = tls.Client(conn, security.server)
				send(t, conn, nil) // begins the handshake
			}
			theirs, err := readHello(conn)
			if err != nil {
				t.Fatal(err)
			}
			send(t, conn, theirs.encode())
			proof := make([]byte, proofSize)
			if _, err := io.ReadFull(conn, proof); err != nil {
				t.Fatal(err)
			}
			send(t, conn, proof)
			return conn
		},
	}
	for name, attack := range attacks {
		for _, way := range ways {
			t.Run(name+"/"+way.name, func(t *testing.T) {
				noLeaks(t)
				server := newNode(t, func(o *Options) { o.Listen, o.Secret = []string{way.listen(t)}, way.secret })
				victim := newNode(t, func(o *Options) { o.Secret = way.secret })
				healthy := dial(t, victim, server)
				call(t, healthy, "before")
				conn := attack(t, server, way.secret, victim.identity)
				waitFault(t, server, ReasonProof)
				waitClosed(t, conn)
				if ups, _, _, _ := server.seen(); ups != 1 {
					t.Errorf("%d sessions, want the victim's own", ups)
				}
				call(t, healthy, "still working")
			})
		}
	}
}

// The same holds for a process that is dialled at the victim's address.
func TestAnInsiderThatIsDialledCannotBeAnother(t *testing.T) {
	noLeaks(t)
	victim := newIdentity(t)
	address := answerAs(t, func(conn net.Conn) error {
		own := victim.newHello(Peer{})
		if _, err := conn.Write(own.encode()); err != nil {
			return err
		}
		other, err := readHello(conn)
		if err != nil {
			return err
		}
		if _, err = conn.Write(ed25519.Sign(newIdentity(t).key, proofOf(roleListener, nil, own, other))); err != nil {
			return err
		}
		_, err = io.ReadFull(conn, make([]byte, proofSize))
		return err
	})
	var wrong *fault
	if _, err := newNode(t, nil).Dial(context.Background(), address); !errors.As(err, &wrong) || wrong.reason != ReasonProof {
		t.Errorf("a session: %v", err)
	}
}

// An insider between two processes can relay what each says. Over TLS the proofs then belong to two
// connections, and neither is accepted.
func TestAnInsiderBetweenTwoProcessesIsRefused(t *testing.T) {
	noLeaks(t)
	server := newNode(t, func(o *Options) { o.Listen, o.Secret = []string{"127.0.0.1:0"}, Secret(testSecret) })
	client := newNode(t, func(o *Options) { o.Secret = Secret(testSecret) })
	security, err := fromSecret(Secret(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	address := answerAs(t, func(from net.Conn) error {
		onward, err := net.Dial("tcp", server.Address())
		if err != nil {
			return err
		}
		inner, outer := tls.Server(from, security.server), tls.Client(onward, security.server)
		defer func() { _ = outer.Close() }()
		go func() {
			_, _ = io.Copy(inner, outer)
			_ = inner.Close()
		}()
		_, err = io.Copy(outer, inner)
		return err
	})
	if _, err := client.Dial(context.Background(), address); err == nil {
		t.Error("the client has a session through another process")
	}
	waitFault(t, server, ReasonProof)
	if ups, _, _, _ := server.seen(); ups != 0 {
		t.Errorf("the server has %d sessions through another process", ups)
	}
}

// A process that dials itself sees itself at both ends.
func TestAProcessProvesItselfToItself(t *testing.T) {
	eachWay(t, Limits{}, func(t *testing.T, server, _ *node) {
		if peer := dial(t, server, server).Peer(); peer.Incarnation != server.identity.Incarnation() {
			t.Errorf("it has reached %v", peer)
		}
	})
}
