package transport

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSecretNeverShows(t *testing.T) {
	secret := Secret("hush-hush-hush-hush")
	identity := newIdentity(t)
	o := Options{Secret: secret, Identity: identity, Handler: newRecorder()}
	transport, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.Close()
	_, short := New(Options{Secret: secret[:15], Identity: newIdentity(t), Handler: newRecorder()})
	if short == nil || !strings.Contains(short.Error(), "15 bytes") {
		t.Fatalf("a short secret: %v", short)
	}
	asJSON, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{string(asJSON), secret.String(), secret.GoString(), short.Error()}
	for _, value := range []any{secret, o, &o, transport, *transport.security} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			texts = append(texts, fmt.Sprintf(verb, value))
		}
	}
	shown := []string{"hush", "68757368", "104 117 115 104", "104, 117, 115, 104", "0x68, 0x75", "aHVza"}
	for _, text := range texts {
		for _, part := range shown {
			if strings.Contains(strings.ToLower(text), part) {
				t.Errorf("the secret shows in %q", text)
			}
		}
	}
}

// Whatever a stranger tries, it is refused, counted and logged, and a session of the
// cluster goes on working.
func TestStrangersAreRefused(t *testing.T) {
	strangers := map[string]func(t *testing.T, server *node){
		"another secret": func(t *testing.T, server *node) {
			other := newNode(t, func(o *Options) { o.Secret = Secret("some other secret, as long") })
			_, err := other.Dial(context.Background(), server.Address())
			if err == nil || !strings.Contains(err.Error(), "it has another secret") {
				t.Errorf("got %v", err)
			}
		},
		"no secret": func(t *testing.T, server *node) {
			conn := rawConn(t, server)
			send(t, conn, someHello(t, Peer{}))
			waitClosed(t, conn)
		},
		"no certificate": func(t *testing.T, server *node) {
			tryTLS(t, server, &tls.Config{})
		},
		"own certificate, another key": func(t *testing.T, server *node) {
			_, key, _ := ed25519.GenerateKey(rand.Reader)
			own, err := selfSigned(key)
			if err != nil {
				t.Fatal(err)
			}
			tryTLS(t, server, &tls.Config{Certificates: []tls.Certificate{own}})
		},
		"TLS 1.2": func(t *testing.T, server *node) {
			own := server.security.server.Certificates // even with the right key
			tryTLS(t, server, &tls.Config{Certificates: own, MaxVersion: tls.VersionTLS12})
		},
		"garbage": func(t *testing.T, server *node) {
			conn := rawConn(t, server)
			send(t, conn, []byte("GET / HTTP/1.1\r\n\r\n"))
			waitClosed(t, conn)
		},
	}
	for name, try := range strangers {
		t.Run(name, func(t *testing.T) {
			for _, listen := range []string{"127.0.0.1:0", socketPath(t)} {
				noLeaks(t)
				server := newNode(t, func(o *Options) { o.Listen, o.Secret = []string{listen}, Secret(testSecret) })
				client := newNode(t, func(o *Options) { o.Secret = Secret(testSecret) })
				healthy := dial(t, client, server)
				try(t, server)
				waitFault(t, server, ReasonTLS)
				call(t, healthy, "still working")
				if n := server.Stats().Accepted; n != 1 {
					t.Fatalf("%d sessions were accepted", n)
				}
				if !strings.Contains(server.logged(), "TLS handshake") || strings.Contains(server.logged(), testSecret) {
					t.Fatalf("log: %s", server.logged())
				}
			}
		})
	}
}

// tryTLS connects with a TLS client that trusts any server, and must not get a hello.
func tryTLS(t *testing.T, server *node, config *tls.Config) {
	t.Helper()
	config.InsecureSkipVerify = true
	conn := tls.Client(rawConn(t, server), config)
	if err := conn.Handshake(); err != nil {
		return
	}
	if _, err := readHello(conn); err == nil {
		t.Error("a stranger got a hello")
	}
}

func TestAStrangersServerIsNotTrusted(t *testing.T) {
	noLeaks(t)
	imposter := newNode(t, func(o *Options) {
		o.Listen, o.Secret = []string{"127.0.0.1:0"}, Secret("some other secret, as long")
	})
	plain := newServer(t, Limits{})
	client := newNode(t, func(o *Options) { o.Secret = Secret(testSecret) })
	for _, server := range []*node{imposter, plain} {
		if _, err := client.Dial(context.Background(), server.Address()); err == nil {
			t.Errorf("got %v", err)
		}
	}
}

// authority is a CA of the tests.
type authority struct {
	folder string
	cert   *x509.Certificate
	key    ed25519.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{folder: t.TempDir()}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	a.key = a.issue(t, "ca", template, template, nil)
	return a
}

// issue writes name.pem and name.key, signed by parent with key (nil: with its own).
func (a *authority) issue(t *testing.T, name string, template, parent *x509.Certificate, key ed25519.PrivateKey) ed25519.PrivateKey {
	t.Helper()
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.Subject.CommonName = a.folder + name
	_, own, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if key == nil {
		key = own
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, own.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if parent == template {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".pem", "CERTIFICATE", der)
	a.write(t, name+".key", "PRIVATE KEY", pkcs8)
	return own
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	data := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(filepath.Join(a.folder, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// files issues a certificate for 127.0.0.1, or for another IP.
func (a *authority) files(t *testing.T, name, ip string) *Files {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.ParseIP(ip)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	a.issue(t, name, template, a.cert, a.key)
	path := func(file string) string { return filepath.Join(a.folder, file) }
	return &Files{Cert: path(name + ".pem"), Key: path(name + ".key"), CA: path("ca.pem")}
}

func TestOwnPKI(t *testing.T) {
	noLeaks(t)
	ours, theirs := newAuthority(t), newAuthority(t)
	good, misnamed, strange := ours.files(t, "good", "127.0.0.1"), ours.files(t, "other", "10.9.9.9"),
		theirs.files(t, "strange", "127.0.0.1")
	imposter := &Files{Cert: strange.Cert, Key: strange.Key, CA: good.CA} // trusts us
	cases := []struct {
		name           string
		server, client *Files
		unix, tcp      bool // whether a session comes about
	}{
		{"same CA", good, good, true, true},
		{"client with another name", good, misnamed, true, true},
		{"server with another name", misnamed, good, true, false},
		{"client of another CA", good, strange, false, false},
		{"server of another CA", strange, good, false, false},
		{"imposter as client", good, imposter, false, false},
		{"imposter as server", imposter, good, false, false},
	}
	for _, c := range cases {
		for listen, works := range map[string]bool{"127.0.0.1:0": c.tcp, socketPath(t): c.unix} {
			t.Run(c.name+" "+listen[:4], func(t *testing.T) {
				noLeaks(t)
				server := newNode(t, func(o *Options) { o.Listen, o.TLS = []string{listen}, c.server })
				client := newNode(t, func(o *Options) { o.TLS = c.client })
				s, err := client.Dial(context.Background(), server.Address())
				if (err == nil) != works {
					t.Fatalf("works: %v, got %v", works, err)
				}
				if works {
					call(t, s, "hello")
				}
				if c.client == imposter {
					pushy, err := tls.LoadX509KeyPair(imposter.Cert, imposter.Key)
					if err != nil {
						t.Fatal(err)
					}
					tryTLS(t, server, &tls.Config{
						// shows its certificate although the server has not asked for one of this CA
						GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pushy, nil },
					})
				}
			})
		}
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
		{func(o *Options) { o.Listen, o.Secret = []string{"0.0.0.0:9000"}, secret }, "tell which one to advertise"},
		{func(o *Options) { o.Listen, o.Secret, o.Self.Address = []string{":9000"}, secret, "10.0.0.1" }, ""},
		{func(o *Options) { o.Listen, o.Secret, o.Self.Address = []string{":9000"}, secret, "[::]:9000" },
			"tell which one to advertise"},
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

// What somebody has recorded of a session, whole or cut, opens none.
func TestAReplayedSessionIsRefused(t *testing.T) {
	noLeaks(t)
	server := newNode(t, func(o *Options) { o.Listen, o.Secret = []string{"127.0.0.1:0"}, Secret(testSecret) })
	client := newNode(t, func(o *Options) { o.Secret = Secret(testSecret) })
	recorded := record(t, server, func(address string) {
		s, err := client.Dial(context.Background(), address)
		if err != nil {
			t.Fatal(err)
		}
		call(t, s, "something worth recording")
		s.Close(nil)
		<-s.Done()
	})
	healthy := dial(t, client, server)
	for i, data := range [][]byte{recorded, recorded[:len(recorded)/2], recorded[:20]} {
		conn := rawConn(t, server)
		send(t, conn, data)
		_ = conn.(*net.TCPConn).CloseWrite()
		waitClosed(t, conn)
		waitFor(t, "the refusal", func() bool { return server.Stats().Faults[ReasonTLS] == uint64(i+1) })
		if i == 0 { // one line for all of a kind
			waitFor(t, "its address in the log", func() bool {
				return strings.Contains(server.logged(), conn.LocalAddr().String())
			})
		}
	}
	call(t, healthy, "still working") // so the server has counted it too
	if n := server.Stats().Accepted; n != 2 {
		t.Errorf("%d sessions were accepted", n)
	}
}

// record gives use an address that leads to a node, and returns what the first connection there
// has sent.
func record(t *testing.T, to *node, use func(address string)) []byte {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	sent := make(chan []byte, 1)
	go func() {
		var all bytes.Buffer
		defer func() { sent <- all.Bytes() }()
		from, err := listener.Accept()
		if err != nil {
			return
		}
		onward, err := net.Dial("tcp", to.Address())
		if err != nil {
			return
		}
		answered := make(chan struct{})
		go func() {
			_, _ = io.Copy(from, onward)
			_ = from.Close()
			close(answered)
		}()
		_, _ = io.Copy(io.MultiWriter(&all, onward), from)
		_ = onward.Close()
		<-answered
	}()
	use(listener.Addr().String())
	return <-sent
}
