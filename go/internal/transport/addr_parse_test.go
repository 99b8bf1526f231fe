package transport

import (
	"context"
	"net"
	"strings"
	"testing"
)

func TestAdvertisedAddresses(t *testing.T) {
	noLeaks(t)
	for _, c := range []struct{ listen, advertise, want string }{
		{"127.0.0.1:0", "", "127.0.0.1:port"},
		{"localhost:0", "", "localhost:port"},
		{"0.0.0.0:0", "127.0.0.1", "127.0.0.1:port"},
		{"[::]:0", "[::1]", "[::1]:port"},
		{"127.0.0.1:0", "cache-1.example.org", "cache-1.example.org:port"},
		{"127.0.0.1:0", "cache-1.example.org:9000", "cache-1.example.org:9000"},
	} {
		server := newNode(t, func(o *Options) {
			o.Listen, o.Self.Address, o.Secret = []string{c.listen}, c.advertise, Secret(testSecret)
		})
		_, port, _ := net.SplitHostPort(server.listener.Addr().String())
		if want := strings.Replace(c.want, "port", port, 1); server.Address() != want {
			t.Errorf("%+v: %s, want %s", c, server.Address(), want)
		}
		client := newNode(t, func(o *Options) { o.Secret = Secret(testSecret) })
		session, err := client.Dial(context.Background(), "localhost:"+port)
		if c.listen == "[::]:0" {
			session, err = client.Dial(context.Background(), server.Address())
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := session.Peer().Address; got != server.Address() {
			t.Errorf("its hello has the address %q", got)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{"", ":1", "[::1]:0", "localhost:80", "unix:/a", "unix:a", "[::ffff:127.0.0.1]:1", "::1", "a:b:c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseAddress(text, false)
		if err == nil && a.network != "unix" {
			t.Fatalf("%q is allowed without a secret: %+v", text, a)
		}
	})
}
