package transport

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

// Each input of this table closes its connection, is counted and logged under its reason, and does
// not harm any other session.
func TestMalformedInput(t *testing.T) {
	oversized := encodeFrame(typeMessage, 0, 0)
	binary.BigEndian.PutUint32(oversized, 16<<20+1)
	claimsMuch := encodeFrame(typeMessage, 0, 0, []byte("little"))
	binary.BigEndian.PutUint32(claimsMuch, 16<<20)
	version := someHello(t, Peer{})
	version[5]++
	unknownLane := someHello(t, Peer{})
	unknownLane[helloSize-3] = 2
	longAddress := someHello(t, Peer{})
	binary.BigEndian.PutUint16(longAddress[helloSize-2:], maxAddress+1)
	inputs := []struct {
		name      string
		handshake bool // do an honest handshake first
		data      []byte
		reason    Reason
		logLine   string
	}{
		{"oversized frame", true, oversized, ReasonOversized, "16777217 bytes"},
		{"truncated header", true, encodeFrame(typeMessage, 0, 0)[:5], ReasonTruncated, "header of a frame"},
		{"truncated body", true, claimsMuch, ReasonTruncated, "body of a frame"},
		{"type 0", true, make([]byte, headerSize), ReasonMalformed, "unknown type 0"},
		{"unknown type", true, encodeFrame(99, 0, 0), ReasonMalformed, "unknown type 99"},
		{"heartbeat with a body", true, encodeFrame(typeHeartbeat, 0, 0, []byte("x")), ReasonMalformed, "heartbeat with a body"},
		{"garbage frame", true, []byte(strings.Repeat("garbage ", 10)), ReasonOversized, "1734439522 bytes"},
		{"garbage hello", false, []byte("GET / HTTP/1.1\r\n\r\n"), ReasonMagic, `"GET "`},
		{"TLS without a secret here", false, []byte{0x16, 3, 1, 0, 200, 1}, ReasonMagic, "speaks TLS"},
		{"wrong version", false, version, ReasonVersion, "version 7 of the protocol, this process version 6"},
		{"no hello", false, nil, ReasonHello, "before its hello was complete"},
		{"truncated hello", false, someHello(t, Peer{Address: "there:1"})[:helloSize+1], ReasonHello, "complete"},
		{"truncated proof", false, append(someHello(t, Peer{}), 1, 2, 3), ReasonHello, "complete"},
		{"wrong proof", false, append(someHello(t, Peer{}), make([]byte, proofSize)...), ReasonProof, "did not prove"},
		{"unknown value of the lane flag", false, unknownLane, ReasonHello, "has 2 where"},
		{"address too long", false, longAddress, ReasonHello, "513 bytes"},
		{"unprintable address", false, someHello(t, Peer{Address: "a\nb"}), ReasonHello, `"a\nb"`},
		{"address not UTF-8", false, someHello(t, Peer{Address: "a\xff"}), ReasonHello, `"a\xff"`},
	}
	for _, in := range inputs {
		t.Run(in.name, func(t *testing.T) {
			noLeaks(t)
			server, client := newServer(t, Limits{}), newNode(t, nil)
			healthy := dial(t, client, server)
			conn := rawConn(t, server)
			if in.handshake {
				conn = handshakenConn(t, server)
			}
			send(t, conn, in.data)
			if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			waitFault(t, server, in.reason)
			waitClosed(t, conn)
			waitFor(t, "log line with address", func() bool {
				return strings.Contains(server.logged(), in.logLine) &&
					strings.Contains(server.logged(), fmt.Sprintf("process %d, a client of %s", os.Getpid(), server.Address()))
			})
			call(t, healthy, "still working")
		})
	}
}
