package transport

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// Protocol version 6 has exactly these bytes.
func TestFrameBytes(t *testing.T) {
	for want, got := range map[string][]byte{
		"\x00\x00\x00\x05\x01\x07\x00\x00\x00\x00\x00\x00\x00\x00hello": encodeFrame(typeMessage, 7, 0, []byte("hel"), []byte("lo")),
		"\x00\x00\x00\x00\x02\x02\x01\x02\x03\x04\x05\x06\x07\x08":      encodeFrame(typeRequest, 2, 0x0102030405060708),
		"\x00\x00\x00\x01\x03\x00\x00\x00\x00\x00\x00\x00\x00\x09a":     encodeFrame(typeAnswer, 0, 9, []byte("a")),
		"\x00\x00\x00\x02\x04\x01\x00\x00\x00\x00\x00\x00\x00\x09no":    encodeFrame(typeFailure, codeOverload, 9, []byte("no")),
		"\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00":      encodeFrame(typeHeartbeat, 0, 0),
		"\x00\x00":    encodeVerdict(nil),
		"\x00\x03why": encodeVerdict(errors.New("why")),
		"GGCT\x00\x06" + strings.Repeat("k", 32) + strings.Repeat("n", 32) + "\x01\x00\x03a:1": hello{
			peer: Peer{Address: "a:1", Lane: true}, key: bytes.Repeat([]byte("k"), 32), nonce: [nonceSize]byte(bytes.Repeat([]byte("n"), 32)),
		}.encode(),
	} {
		if string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func FuzzFrameReader(f *testing.F) {
	f.Add([]byte{})
	f.Add(encodeFrame(typeMessage, 7, 0, []byte("body")))
	f.Add(append(encodeFrame(typeRequest, 1, 2), encodeFrame(typeAnswer, 0, 2, []byte("answer"))...))
	f.Add(append(encodeFrame(typeFailure, codeOverload, 3, []byte("no")), encodeFrame(typeHeartbeat, 0, 0)...))
	f.Add(encodeFrame(typeMessage, 7, 0, []byte("body"))[:15])
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0x0f, 0xff, 0xff, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 20
		r := frameReader{from: bytes.NewReader(data), limit: limit}
		read := 0
		for {
			frame, err := r.next()
			if cap(frame.body) > 4*(len(data)+readStep) {
				t.Fatalf("%d bytes of memory for %d of input", cap(frame.body), len(data))
			}
			if err == io.EOF && read != len(data) {
				t.Fatalf("a clean end after %d of %d bytes", read, len(data))
			}
			if err != nil {
				return
			}
			again := encodeFrame(frame.typ, frame.kind, frame.id, frame.body)
			if !bytes.HasPrefix(data[read:], again) {
				t.Fatalf("frame %+v is not what was read", frame)
			}
			read += len(again)
		}
	})
}

// A frame that arrives piece by piece is read, and takes memory only as it arrives.
func TestASlowFrameIsRead(t *testing.T) {
	noLeaks(t)
	server := newServer(t, Limits{})
	conn := handshakenConn(t, server)
	body := strings.Repeat("slow ", 40000)
	data := encodeFrame(typeMessage, 0, 0, []byte(body))
	for len(data) > 0 {
		n := min(len(data), 7777)
		send(t, conn, data[:n])
		data = data[n:]
	}
	waitFor(t, "message", func() bool { _, _, messages, _ := server.seen(); return messages == 1 })
	if server.messages[0] != body {
		t.Fatal("another body arrived")
	}
}
