package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// rawPeer is a client of the protocol on a unix socket, written from its description in
// transport/wire_hello.go and transport/wire_identity.go: it makes an honest handshake and then sends
// whatever bytes a test likes.
type rawPeer struct{ key ed25519.PrivateKey }

const rawHelloSize = 4 + 2 + 32 + 32 + 1 + 2

func newRawPeer(t testing.TB) *rawPeer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &rawPeer{key: key}
}

func (r *rawPeer) hello() []byte {
	b := append([]byte("GGCT"), 0, 6)
	b = append(b, r.key.Public().(ed25519.PublicKey)...)
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce)
	return append(append(b, nonce...), 0, 0, 0) // no lane, no address
}

// connect opens a connection and sends nothing. It ends with the test.
func connect(t testing.TB, p *process) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(p.mesh.Address, "unix:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// handshake makes a connection a session.
func (r *rawPeer) handshake(conn net.Conn) error {
	own := r.hello()
	if _, err := conn.Write(own); err != nil {
		return err
	}
	other := make([]byte, rawHelloSize)
	if _, err := io.ReadFull(conn, other); err != nil {
		return err
	}
	address := make([]byte, binary.BigEndian.Uint16(other[rawHelloSize-2:]))
	if _, err := io.ReadFull(conn, address); err != nil {
		return err
	}
	signed := append([]byte("guillotina_groupcache proof v1"), 'd')
	for _, part := range [][]byte{nil, own, append(other, address...)} {
		signed = append(binary.BigEndian.AppendUint32(signed, uint32(len(part))), part...)
	}
	if _, err := conn.Write(ed25519.Sign(r.key, signed)); err != nil {
		return err
	}
	answer := make([]byte, ed25519.SignatureSize+2) // its proof, and a verdict without a text
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if n := binary.BigEndian.Uint16(answer[ed25519.SignatureSize:]); n > 0 {
		return fmt.Errorf("refused, in %d bytes", n)
	}
	return nil
}
