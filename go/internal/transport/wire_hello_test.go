package transport

import (
	"bytes"
	"testing"
)

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
