package transport

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// security puts mutual TLS 1.3 over connections. A nil *security means no TLS.
type security struct {
	server *tls.Config
	client func(dialled address) *tls.Config
}

func newSecurity(o *Options) (*security, error) {
	switch {
	case len(o.Secret) > 0 && o.TLS != nil:
		return nil, errors.New("both secret and tls are set, only one is allowed")
	case len(o.Secret) > 0:
		return fromSecret(o.Secret)
	case o.TLS != nil:
		return fromFiles(o.TLS)
	}
	return nil, nil
}

// wrap puts TLS over a connection; dialled is nil on the accepting side.
func (s *security) wrap(conn net.Conn, dialled *address) *tls.Conn {
	if dialled != nil {
		return tls.Client(conn, s.client(*dialled))
	}
	return tls.Server(conn, s.server)
}

// baseConfig returns what both kinds have in common. Session tickets are off: each connection
// authenticates both sides anew.
func baseConfig(own tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{own},
		SessionTicketsDisabled: true,
	}
}

// fromSecret trusts exactly the key that is derived from the secret. It ignores names, dates and
// issuers of certificates.
func fromSecret(secret Secret) (*security, error) {
	key, err := secret.key()
	if err != nil {
		return nil, err
	}
	own, err := selfSigned(key)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate: %w", err)
	}
	config := baseConfig(own)
	config.ClientAuth = tls.RequireAnyClientCert
	config.InsecureSkipVerify = true // VerifyConnection below is stricter
	config.VerifyConnection = sameKey(key.Public().(ed25519.PublicKey))
	return &security{config, func(address) *tls.Config { return config }}, nil
}

// sameKey accepts a peer whose public key is this process's own. The TLS handshake has proved
// before that the peer has the private key too.
func sameKey(own ed25519.PublicKey) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("it showed no certificate")
		}
		key, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
		if !ok || subtle.ConstantTimeCompare(key, own) != 1 {
			return errors.New("it has another secret")
		}
		return nil
	}
}

func selfSigned(key ed25519.PrivateKey) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "guillotina_groupcache"},
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// fromFiles trusts certificates of the given CA; that of a server only if it names the dialled host.
func fromFiles(files *Files) (*security, error) {
	own, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		return nil, fmt.Errorf("tls: cannot use cert %q with key %q: %w", files.Cert, files.Key, err)
	}
	pem, err := os.ReadFile(files.CA)
	if err != nil {
		return nil, fmt.Errorf("tls: cannot read ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls: ca %q holds no certificate in PEM form", files.CA)
	}
	server := baseConfig(own)
	server.ClientAuth = tls.RequireAndVerifyClientCert
	server.ClientCAs = pool
	client := func(dialled address) *tls.Config {
		config := baseConfig(own)
		if dialled.network == "unix" {
			config.InsecureSkipVerify = true // VerifyConnection checks all but the name
			config.VerifyConnection = issuedBy(pool)
			return config
		}
		config.RootCAs = pool
		config.ServerName = dialled.host
		return config
	}
	return &security{server, client}, nil
}

// issuedBy accepts any server certificate of the CA. A unix socket has no name that a
// certificate could carry; the permissions of its directory decide who may put a socket there.
func issuedBy(pool *x509.CertPool) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("it showed no certificate")
		}
		between := x509.NewCertPool()
		for _, cert := range state.PeerCertificates[1:] {
			between.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, Intermediates: between})
		return err
	}
}
