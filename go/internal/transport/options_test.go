package transport

import (
	"strings"
	"testing"
	"time"
)

func TestTheBoundsFollowTheDescriptorLimit(t *testing.T) {
	noLeaks(t)
	withDescriptors(t, 256)
	n := newNode(t, nil)
	if all := cap(n.pending.open) + n.limits.Unlisted; all > 64 || all < 48 {
		t.Errorf("handshakes and unlisted sessions may have %d of 256 descriptors", all)
	}
	withDescriptors(t, 8192)
	n = newNode(t, func(o *Options) { o.Limits.Unlisted = 3 })
	if n.limits.PendingHandshakes != 512 || n.limits.Unlisted != 3 {
		t.Errorf("%+v", n.limits)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	noLeaks(t)
	ca := newAuthority(t)
	files := ca.files(t, "good", "127.0.0.1")
	secret := Secret(testSecret)
	const needsSecret = "TCP needs a secret or tls"
	cases := []struct {
		change func(*Options)
		want   string // part of the error; "": none
	}{
		{func(o *Options) {}, ""},
		{func(o *Options) { o.Listen = []string{"unix:/run/x"} }, ""},
		{func(o *Options) { o.Listen, o.Secret = []string{"[::1]:9000"}, secret }, ""},
		{func(o *Options) { o.Listen, o.TLS = []string{"localhost:9000"}, files }, ""},
		{func(o *Options) { o.Listen = []string{"[::1]:9000"} }, needsSecret},
		{func(o *Options) { o.Listen = []string{"localhost:9000"} }, needsSecret},
		{func(o *Options) { o.Listen = []string{"127.9.9.9:9000"} }, needsSecret},
		{func(o *Options) { o.Listen = []string{"unix:/run/x", "127.0.0.1:9000"} }, needsSecret},
		{func(o *Options) { o.Listen = []string{":9000"} }, needsSecret},
		{func(o *Options) { o.Listen = []string{"10.0.0.1:9000"} }, needsSecret},
		{func(o *Options) { o.Listen, o.Self.Address = []string{"unix:/run/x"}, "127.0.0.1:9000" }, needsSecret},
		{func(o *Options) { o.Listen, o.Secret = []string{"0.0.0.0:9000"}, secret }, "say which one to advertise"},
		{func(o *Options) { o.Listen, o.Secret, o.Self.Address = []string{":9000"}, secret, "10.0.0.1" }, ""},
		{func(o *Options) { o.Listen, o.Secret, o.Self.Address = []string{":9000"}, secret, "[::]:9000" },
			"say which one to advertise"},
		{func(o *Options) { o.Listen, o.TLS = []string{"host.example.org:9000"}, files }, ""},
		{func(o *Options) { o.Secret, o.TLS = secret, files }, "only one is allowed"},
		{func(o *Options) { o.TLS = &Files{Cert: "nowhere", Key: files.Key, CA: files.CA} }, "nowhere"},
		{func(o *Options) { o.TLS = &Files{Cert: files.Cert, Key: files.Key, CA: "nowhere"} }, "nowhere"},
		{func(o *Options) { o.TLS = &Files{Cert: files.Cert, Key: files.Key, CA: files.Key} }, "holds no certificate"},
		{func(o *Options) { o.Self.Address = "unix:/run/x" }, "Listen is empty"},
		{func(o *Options) { o.Identity = nil }, "Identity"},
		{func(o *Options) { o.Self.Incarnation = 1 }, "Self.Incarnation is 1"},
		{func(o *Options) { o.Handler = nil }, "Handler"},
		{func(o *Options) { o.Listen = []string{"9000"} }, "neither host:port nor unix:/path"},
		{func(o *Options) { o.Listen = []string{"127.0.0.1:http"} }, "the port must be a number"},
		{func(o *Options) { o.Listen = []string{"unix:relative"} }, "must be absolute"},
		{func(o *Options) { o.Listen = []string{"unix:@abstract"} }, "must be absolute"},
		{func(o *Options) { o.Listen = []string{"unix:/" + strings.Repeat("x", 108)} }, "at most"},
		{func(o *Options) { o.Listen = []string{"unix:/a\x00b"} }, "cannot be printed"},
		{func(o *Options) { o.Limits.Frame = -1 }, "Limits.Frame is -1"},
		{func(o *Options) { o.Limits.DrainTimeout = -1 }, "Limits.DrainTimeout is -1"},
		{func(o *Options) { o.Limits.QueueBytes = 100 }, "Limits.QueueBytes is 100"},
		{func(o *Options) { o.Limits.Heartbeat = time.Minute }, "Limits.ReadTimeout is 5s"},
	}
	for i, c := range cases {
		o := Options{Identity: newIdentity(t), Handler: newRecorder()}
		c.change(&o)
		transport, err := New(o)
		if err == nil {
			transport.Close()
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("case %d: want %q, got %v", i, c.want, err)
		}
	}
}
