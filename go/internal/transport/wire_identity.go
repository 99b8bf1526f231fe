package transport

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// Identity proves which process this is, from its start to its end. It is a key pair whose private
// half never leaves the process.
//
// The tension: the secret, or a certificate of the CA, proves only that a process belongs to the
// cluster. If a hello merely stated an incarnation, any process with the secret could speak for any
// other. So the incarnation is derived from the public key, and on each connection each side signs
// both hellos. A process without the private key cannot use that incarnation, and a signature made
// for one connection is worthless on another.
type Identity struct{ key ed25519.PrivateKey }

// Labels of what is hashed and signed. A change of what follows a label needs a new number in it.
const (
	incarnationLabel = "guillotina_groupcache incarnation v1"
	proofLabel       = "guillotina_groupcache proof v1"
	exporterLabel    = "EXPORTER-guillotina_groupcache-proof-v1"
)

const (
	nonceSize    = 32
	proofSize    = ed25519.SignatureSize
	exporterSize = 32
)

// The roles of the two sides, so that a side's own proof cannot be sent back to it as its peer's.
const (
	roleDialler  byte = 'd'
	roleListener byte = 'l'
)

// NewIdentity returns the identity of a process that starts now.
func NewIdentity() (*Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key pair: %w", err)
	}
	return &Identity{key}, nil
}

// Format prints the incarnation, whatever the verb, and never the key.
func (i *Identity) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "identity %016x", i.Incarnation())
}

// Incarnation returns the number by which the cluster knows the process.
func (i *Identity) Incarnation() uint64 { return incarnationOf(i.public()) }

func (i *Identity) public() ed25519.PublicKey { return i.key.Public().(ed25519.PublicKey) }

// incarnationOf derives an incarnation from a public key. It is never 0, and 63 bits long, as the
// members table's column is signed. Finding another key with the same incarnation takes 2⁶² tries,
// within the lifetime of the process that has it.
func incarnationOf(key ed25519.PublicKey) uint64 {
	digest := sha256.Sum256(append([]byte(incarnationLabel), key...))
	return binary.BigEndian.Uint64(digest[:])>>1 | 1
}

// newHello returns the hello of this process for one connection.
func (i *Identity) newHello(self Peer) hello {
	h := hello{peer: self, key: i.public()}
	h.peer.Incarnation = i.Incarnation()
	_, _ = rand.Read(h.nonce[:]) // crypto/rand ends the process if the system has no random bits
	return h
}

// proofOf returns what the side with a role signs: the connection, its own hello, and the other one's.
func proofOf(role byte, binding []byte, own, other hello) []byte {
	signed := append([]byte(proofLabel), role)
	for _, part := range [][]byte{binding, own.encode(), other.encode()} {
		signed = binary.BigEndian.AppendUint32(signed, uint32(len(part)))
		signed = append(signed, part...)
	}
	return signed
}

// binding returns a value that only the two ends of a TLS connection know and that no other
// connection has, so that a proof that was relayed from another connection fails. Without TLS there
// is none; but without TLS there are only unix sockets, where only processes of the same user could
// relay.
func binding(conn net.Conn) ([]byte, error) {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return nil, nil
	}
	state := secured.ConnectionState()
	return state.ExportKeyingMaterial(exporterLabel, nil, exporterSize)
}

// prove sends the proof that this process has the incarnation of its hello, and checks that of the
// other side. Both sides send before they read.
func (i *Identity) prove(conn net.Conn, reader io.Reader, own, other hello, dialled bool) error {
	bound, err := binding(conn)
	if err != nil {
		return helloError(err)
	}
	mine, theirs := roleListener, roleDialler
	if dialled {
		mine, theirs = theirs, mine
	}
	if _, err := conn.Write(ed25519.Sign(i.key, proofOf(mine, bound, own, other))); err != nil {
		return helloError(err)
	}
	var proof [proofSize]byte
	if _, err := io.ReadFull(reader, proof[:]); err != nil {
		return helloError(err)
	}
	if !ed25519.Verify(other.key, proofOf(theirs, bound, other, own), proof[:]) {
		return faultf(ReasonProof, "it did not prove that it is process %016x", other.peer.Incarnation)
	}
	return nil
}
