package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A hello is the first thing that either side sends, numbers big-endian:
//
//	offset 0   4 bytes  magic
//	offset 4   uint16   protocol version
//	offset 6   uint64   incarnation
//	offset 14  uint8    1: the connection is a lane, 0: it is not
//	offset 15  uint16   length of the address
//	offset 17           address
//
// The first six bytes stay as they are in every version, so that any two versions can tell
// each other apart.
//
// The side that was dialled answers the other one's hello with a verdict: a uint16, and as
// many bytes that say why it does not let it in. So who is refused can tell its operator, and
// takes no session for one that began.
const (
	magic           = "GGCT"
	protocolVersion = 5
	helloSize       = 17  // without the address
	maxAddress      = 512 // bytes
	maxVerdict      = 512 // bytes
)

func encodeHello(p Peer) []byte {
	buf := make([]byte, 0, helloSize+len(p.Address))
	buf = append(buf, magic...)
	buf = binary.BigEndian.AppendUint16(buf, protocolVersion)
	buf = binary.BigEndian.AppendUint64(buf, p.Incarnation)
	lane := byte(0)
	if p.Lane {
		lane = 1
	}
	buf = append(buf, lane)
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(p.Address)))
	return append(buf, p.Address...)
}

// readHello reads a hello and nothing after it.
func readHello(from io.Reader) (Peer, error) {
	var head [helloSize]byte
	if _, err := io.ReadFull(from, head[:6]); err != nil {
		return Peer{}, helloError(err)
	}
	if string(head[:4]) != magic {
		return Peer{}, faultf(ReasonMagic, "it began with %q, not as a process of this cluster%s", head[:4], hint(head[:4]))
	}
	if version := binary.BigEndian.Uint16(head[4:]); version != protocolVersion {
		return Peer{}, faultf(ReasonVersion, "it speaks version %d of the protocol, this process version %d",
			version, protocolVersion)
	}
	if _, err := io.ReadFull(from, head[6:]); err != nil {
		return Peer{}, helloError(err)
	}
	incarnation, lane, size := binary.BigEndian.Uint64(head[6:]), head[14], binary.BigEndian.Uint16(head[15:])
	if incarnation == 0 {
		return Peer{}, faultf(ReasonHello, "its hello has no incarnation")
	}
	if lane > 1 {
		return Peer{}, faultf(ReasonHello, "its hello tells of a connection of kind %d, 0 and 1 are known", lane)
	}
	if size > maxAddress {
		return Peer{}, faultf(ReasonHello, "its hello has an address of %d bytes, at most %d are allowed", size, maxAddress)
	}
	address := make([]byte, size)
	if _, err := io.ReadFull(from, address); err != nil {
		return Peer{}, helloError(err)
	}
	if err := checkText(string(address)); err != nil {
		return Peer{}, faultf(ReasonHello, "its hello has a wrong address: %w", err)
	}
	return Peer{Incarnation: incarnation, Address: string(address), Lane: lane == 1}, nil
}

// encodeVerdict tells why a process is not let in; nil: it is.
func encodeVerdict(refusal error) []byte {
	var text string
	if refusal != nil {
		text = refusal.Error()
		text = text[:min(len(text), maxVerdict)]
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)
}

// readVerdict reads a verdict and nothing after it. An error is the refusal, or that of reading.
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
	return fmt.Errorf("%w by the other side: %s", ErrNotAdmitted, strings.ToValidUTF8(string(text), "?"))
}

// hint explains a wrong magic where it can.
func hint(began []byte) string {
	const tlsHandshakeRecord = 0x16
	if began[0] == tlsHandshakeRecord {
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

// checkText refuses an address that would garble a log line or be cut at a NUL byte.
func checkText(address string) error {
	if len(address) > maxAddress {
		return fmt.Errorf("address of %d bytes, at most %d are allowed", len(address), maxAddress)
	}
	if !utf8.ValidString(address) {
		return fmt.Errorf("address %q is not UTF-8", address)
	}
	for _, r := range address {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("address %q has a character that cannot be printed", address)
		}
	}
	return nil
}
