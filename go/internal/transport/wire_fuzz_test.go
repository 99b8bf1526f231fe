package transport

import (
	"bytes"
	"io"
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

func FuzzHello(f *testing.F) {
	f.Add([]byte{})
	f.Add(someHello(f, Peer{}))
	f.Add(someHello(f, Peer{Address: "127.0.0.1:9000"}))
	f.Add(someHello(f, Peer{Address: "unix:/run/g/ä b.sock"}))
	f.Add(someHello(f, Peer{Address: "a\x00b"}))
	f.Add(someHello(f, Peer{Lane: true}))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(someHello(f, Peer{Address: "x"})[:16])
	f.Fuzz(func(t *testing.T, data []byte) {
		from := bytes.NewReader(data)
		h, err := readHello(from)
		if err != nil {
			return
		}
		if read := data[:len(data)-from.Len()]; !bytes.Equal(h.encode(), read) {
			t.Fatalf("%+v is not what was read: %q", h, read)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{"", ":1", "[::1]:0", "localhost:80", "unix:/a", "unix:a", "[::ffff:127.0.0.1]:1", "::1", "a:b:c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseAddress(text, false)
		if err == nil && a.network != "unix" {
			t.Fatalf("%q is let through without a secret: %+v", text, a)
		}
	})
}
