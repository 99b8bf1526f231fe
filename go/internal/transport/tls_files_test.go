package transport

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority is a certificate authority of the tests.
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
		unix, tcp      bool // whether a session is expected
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
						// sends its certificate although the server has asked for one of another CA
						GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pushy, nil },
					})
				}
			})
		}
	}
}
