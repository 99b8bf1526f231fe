package transport

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A hello is the first thing that either side sends, numbers big-endian:
//
//	offset 0   4 bytes   magic
//	offset 4   uint16    protocol version
//	offset 6   32 bytes  public key, see Identity
//	offset 38  32 bytes  nonce, drawn for this connection
//	offset 70  uint8     1: the connection is a lane, 0: it is not
//	offset 71  uint16    length of the address
//	offset 73            address
//
// The first six bytes are the same in every version, so that each version recognizes any other.
//
// Each side then sends its proof, 64 bytes: a signature over the connection and both hellos. Last,
// the side that was dialled sends its verdict: a uint16, and as many bytes that say why it refuses
// the other process; 0 admits it. So a refused process can report why, and does not take the
// connection for a session that has begun.
const (
	magic           = "GGCT"
	protocolVersion = 6
	versionedSize   = 6   // magic and version
	helloSize       = 73  // without the address
	maxVerdict      = 512 // bytes
)

type hello struct {
	peer  Peer // its incarnation is that of the key
	key   ed25519.PublicKey
	nonce [nonceSize]byte
}

func (h hello) encode() []byte {
	buf := make([]byte, 0, helloSize+len(h.peer.Address))
	buf = append(buf, magic...)
	buf = binary.BigEndian.AppendUint16(buf, protocolVersion)
	buf = append(buf, h.key...)
	buf = append(buf, h.nonce[:]...)
	lane := byte(0)
	if h.peer.Lane {
		lane = 1
	}
	buf = append(buf, lane)
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(h.peer.Address)))
	return append(buf, h.peer.Address...)
}

// readHello reads a hello and nothing after it.
func readHello(from io.Reader) (hello, error) {
	var head [helloSize]byte
	if _, err := io.ReadFull(from, head[:versionedSize]); err != nil {
		return hello{}, helloError(err)
	}
	if string(head[:4]) != magic {
		return hello{}, faultf(ReasonMagic, "it began with %q, and not as a process of this cluster does%s",
			head[:4], explainMagic(head[:4]))
	}
	if version := binary.BigEndian.Uint16(head[4:]); version != protocolVersion {
		return hello{}, faultf(ReasonVersion, "it speaks version %d of the protocol, this process version %d",
			version, protocolVersion)
	}
	if _, err := io.ReadFull(from, head[versionedSize:]); err != nil {
		return hello{}, helloError(err)
	}
	rest := head[versionedSize:]
	h := hello{key: slices.Clone(rest[:ed25519.PublicKeySize])}
	rest = rest[ed25519.PublicKeySize:]
	rest = rest[copy(h.nonce[:], rest):]
	lane, size := rest[0], binary.BigEndian.Uint16(rest[1:])
	if lane > 1 {
		return hello{}, faultf(ReasonHello, "its hello has %d where 1 (a lane) or 0 (no lane) is allowed", lane)
	}
	if size > maxAddress {
		return hello{}, faultf(ReasonHello, "its hello has an address of %d bytes, at most %d are allowed", size, maxAddress)
	}
	address := make([]byte, size)
	if _, err := io.ReadFull(from, address); err != nil {
		return hello{}, helloError(err)
	}
	if err := checkText(string(address)); err != nil {
		return hello{}, faultf(ReasonHello, "its hello has an invalid address: %w", err)
	}
	h.peer = Peer{Incarnation: incarnationOf(h.key), Address: string(address), Lane: lane == 1}
	return h, nil
}

// encodeVerdict returns the bytes that say why a process is refused; nil: it is admitted.
func encodeVerdict(refusal error) []byte {
	var text string
	if refusal != nil {
		text = refusal.Error()
		text = text[:min(len(text), maxVerdict)]
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)
}

// readVerdict reads a verdict and nothing after it. It returns the refusal or a read error.
func readVerdict(from io.Reader) error {
	var size [2]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		return helloError(err)
	}
	text := make([]byte, min(int(binary.BigEndian.Uint16(size[:])), maxVerdict))
	if _, err := io.ReadFull(from, text); err != nil {
		return helloError(err)
	}
	if len(text) == 0 {
		return nil
	}
	return fmt.Errorf("%w by the other side: %s", ErrNotAdmitted, Printable(string(text)))
}

// explainMagic explains a wrong magic if it can.
func explainMagic(start []byte) string {
	const tlsHandshakeRecord = 0x16
	if start[0] == tlsHandshakeRecord {
		return " (it speaks TLS, this process has neither secret nor tls)"
	}
	return ""
}

func helloError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return faultf(ReasonHello, "it closed the connection before its hello was complete")
	}
	return faultf(ReasonHello, "its hello could not be read: %w", err)
}
