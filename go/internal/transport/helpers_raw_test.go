package transport

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// rawListener listens on a unix socket and knows nothing of the protocol.
func rawListener(t testing.TB) (listener net.Listener, address string) {
	t.Helper()
	address = socketPath(t)
	listener, err := net.Listen("unix", strings.TrimPrefix(address, unixPrefix))
	if err != nil {
		t.Fatal(err)
	}
	return listener, address
}

// rawConn returns a connection over which the test may write anything.
func rawConn(t testing.TB, to *node) net.Conn {
	t.Helper()
	network, target := "tcp", to.Address()
	if path, ok := strings.CutPrefix(target, unixPrefix); ok {
		network, target = "unix", path
	}
	conn, err := net.Dial(network, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// handshakenConn returns a rawConn after an honest handshake.
func handshakenConn(t testing.TB, to *node) net.Conn {
	t.Helper()
	conn := rawConn(t, to)
	if err := handshakeRaw(conn, newIdentity(t), true); err != nil {
		t.Fatal(err)
	}
	if err := readVerdict(conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// handshakeRaw exchanges hellos and proofs as an honest process does.
func handshakeRaw(conn net.Conn, identity *Identity, dialled bool) error {
	own := identity.newHello(Peer{})
	if _, err := conn.Write(own.encode()); err != nil {
		return err
	}
	other, err := readHello(conn)
	if err != nil {
		return err
	}
	return identity.prove(conn, conn, own, other, dialled)
}

// someHello returns the bytes of a well-formed hello.
func someHello(t testing.TB, self Peer) []byte { return newIdentity(t).newHello(self).encode() }

// send writes and ignores errors: the other side may have closed already.
func send(t testing.TB, conn net.Conn, data []byte) {
	t.Helper()
	_, _ = conn.Write(data)
}

// waitClosed waits until the other side has closed the connection.
func waitClosed(t testing.TB, conn net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, conn)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Fatal("the connection is still open")
	}
}

// answerAs listens at an address and has answer serve the first connection.
func answerAs(t *testing.T, answer func(net.Conn) error) (address string) {
	t.Helper()
	listener, address := rawListener(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_ = answer(conn)
		_ = conn.Close()
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return address
}

// connFrom connects to a port of this host from a loopback address.
func connFrom(t *testing.T, ip, port string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	conn, err := d.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
