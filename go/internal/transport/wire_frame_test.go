package transport

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func FuzzFrameReader(f *testing.F) {
	f.Add([]byte{})
	f.Add(encodeFrame(typeMessage, 7, 0, []byte("body")))
	f.Add(append(encodeFrame(typeRequest, 1, 2), encodeFrame(typeAnswer, 0, 2, []byte("answer"))...))
	f.Add(append(encodeFrame(typeFailure, codeOverload, 3, []byte("no")), encodeFrame(typeBeat, 0, 0)...))
	f.Add(encodeFrame(typeMessage, 7, 0, []byte("body"))[:15])
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0x0f, 0xff, 0xff, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 20
		r := frameReader{from: bytes.NewReader(data), limit: limit}
		read := 0
		for {
			frame, err := r.next()
			if cap(frame.body) > 4*(len(data)+arrivalStep) {
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

// A frame that arrives piece by piece is no silence, and needs memory only as it arrives.
func TestASlowFrameIsRead(t *testing.T) {
	noLeaks(t)
	server := newServer(t, Limits{})
	conn := greetedConn(t, server)
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
