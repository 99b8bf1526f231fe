package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// A hello is the first thing that either side sends, numbers big-endian:
//
//	offset 0   4 bytes  magic
//	offset 4   uint16   protocol version
//	offset 6   uint64   incarnation
//	offset 14  uint16   length of the address
//	offset 16           address
//
// The first six bytes stay as they are in every version, so that any two versions can tell
// each other apart.
const (
	magic           = "GGCT"
	protocolVersion = 1
	helloSize       = 16  // without the address
	maxAddress      = 512 // bytes
)

func encodeHello(p Peer) []byte {
	buf := make([]byte, 0, helloSize+len(p.Address))
	buf = append(buf, magic...)
	buf = binary.BigEndian.AppendUint16(buf, protocolVersion)
	buf = binary.BigEndian.AppendUint64(buf, p.Incarnation)
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
	incarnation, size := binary.BigEndian.Uint64(head[6:]), binary.BigEndian.Uint16(head[14:])
	if incarnation == 0 {
		return Peer{}, faultf(ReasonHello, "its hello has no incarnation")
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
	return Peer{Incarnation: incarnation, Address: string(address)}, nil
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
