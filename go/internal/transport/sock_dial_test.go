package transport

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDialHasADeadline(t *testing.T) {
	noLeaks(t)
	listener, address := rawListener(t) // accepts by its backlog only
	defer func() { _ = listener.Close() }()
	for _, secret := range []Secret{nil, Secret(testSecret)} {
		client := newNode(t, func(o *Options) { o.Secret, o.Limits = secret, Limits{HandshakeTimeout: 50 * time.Millisecond} })
		_, err := client.Dial(context.Background(), address)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		client = newNode(t, func(o *Options) { o.Secret = secret })
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(10*time.Millisecond, cancel)
		if _, err = client.Dial(ctx, address); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
}

func TestDialWhereNobodyListens(t *testing.T) {
	noLeaks(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := listener.Addr().String()
	_, port, _ := net.SplitHostPort(refusing)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	stale := socketPath(t)
	staleSocket(t, stale)
	addresses := []string{stale, refusing, "localhost:" + port}
	for _, ip := range interfaceIPs(t) {
		addresses = append(addresses, net.JoinHostPort(ip, port))
	}
	for _, address := range addresses {
		for _, secret := range []Secret{nil, Secret(testSecret)} {
			if secret == nil && address != stale {
				continue
			}
			n := newNode(t, func(o *Options) { o.Secret = secret })
			if _, err := n.Dial(context.Background(), address); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: %v", address, err)
			}
		}
	}
}

func TestDialWhereNoPeerAnswers(t *testing.T) {
	noLeaks(t)
	n := newNode(t, func(o *Options) { o.Secret = Secret(testSecret) })
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	closing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = closing.Close() }()
	go func() {
		for {
			conn, err := closing.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	for _, address := range []string{closing.Addr().String(), unixPrefix + filepath.Join(file, "below"), socketPath(t)} {
		if _, err := n.Dial(context.Background(), address); err == nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	plain := newNode(t, nil)
	for _, address := range []string{"192.0.2.1:9000", closing.Addr().String()} {
		if _, err := plain.Dial(context.Background(), address); err == nil || !strings.Contains(err.Error(), "needs a secret or tls") {
			t.Errorf("dialled without a secret: %v", err)
		}
	}
}

// interfaceIPs returns this host's addresses that are not loopback.
func interfaceIPs(t *testing.T) []string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var ips []string
	for _, one := range all {
		if ip, ok := one.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			ips = append(ips, ip.IP.String())
		}
	}
	return ips
}
