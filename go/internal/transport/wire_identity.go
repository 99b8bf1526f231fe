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

// Identity is who a process is, from its start to its end: a key pair that it shows nobody the
// private half of.
//
// The tension: the secret, or a certificate of the CA, shows that a process belongs to the cluster,
// and is the same for all of them. A hello that merely states an incarnation would let whoever has
// the secret speak for anybody. So the incarnation is derived from the public key, and each side of
// each connection signs what both have said: who does not have the private key cannot take part
// under that incarnation, and what was signed for one connection is worth nothing on another.
type Identity struct{ key ed25519.PrivateKey }

// Labels of what is hashed and signed. A change of what follows one gets a new number here.
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

// The roles of the two sides, so that nobody's proof can be sent back to it as its peer's.
const (
	roleDialler  byte = 'd'
	roleListener byte = 'l'
)

// NewIdentity makes the identity of a process that begins now.
func NewIdentity() (*Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key pair: %w", err)
	}
	return &Identity{key}, nil
}

// Format prints the incarnation, whatever the verb: the key never shows.
func (i *Identity) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "identity %016x", i.Incarnation())
}

// Incarnation is the number that the process has in the cluster.
func (i *Identity) Incarnation() uint64 { return incarnationOf(i.public()) }

func (i *Identity) public() ed25519.PublicKey { return i.key.Public().(ed25519.PublicKey) }

// incarnationOf derives an incarnation from a public key. It is never 0, and 63 bits long, as the
// members table's column is signed. To find another key of the same incarnation takes 2⁶² tries,
// within the life of the process that has it.
func incarnationOf(key ed25519.PublicKey) uint64 {
	digest := sha256.Sum256(append([]byte(incarnationLabel), key...))
	return binary.BigEndian.Uint64(digest[:])>>1 | 1
}

// newHello is what a process says first over one connection.
func (i *Identity) newHello(self Peer) hello {
	h := hello{peer: self, key: i.public()}
	h.peer.Incarnation = i.Incarnation()
	_, _ = rand.Read(h.nonce[:]) // crypto/rand ends the process that has no random bits
	return h
}

// proofOf is what the side in a role signs: the connection, its own hello, and the other one's.
func proofOf(role byte, binding []byte, own, other hello) []byte {
	signed := append([]byte(proofLabel), role)
	for _, part := range [][]byte{binding, own.encode(), other.encode()} {
		signed = binary.BigEndian.AppendUint32(signed, uint32(len(part)))
		signed = append(signed, part...)
	}
	return signed
}

// binding is a value that only the two ends of a TLS connection know, and that no other connection
// has: a proof that was relayed from another one does not fit. Without TLS there is none, and on a
// unix socket only the user's own processes can come between two others.
func binding(conn net.Conn) ([]byte, error) {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return nil, nil
	}
	state := secured.ConnectionState()
	return state.ExportKeyingMaterial(exporterLabel, nil, exporterSize)
}

// prove sends the proof that this process is who its hello says, and checks the other side's.
// Both send first and read then.
func (i *Identity) prove(conn net.Conn, in io.Reader, own, other hello, dialled bool) error {
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
	if _, err := io.ReadFull(in, proof[:]); err != nil {
		return helloError(err)
	}
	if !ed25519.Verify(other.key, proofOf(theirs, bound, other, own), proof[:]) {
		return faultf(ReasonProof, "it does not prove that it is the process %016x", other.peer.Incarnation)
	}
	return nil
}
