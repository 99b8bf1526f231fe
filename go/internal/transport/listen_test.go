package transport

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// staleSocket leaves a socket file behind as a killed process does.
func staleSocket(t *testing.T, listen string) string {
	t.Helper()
	path := strings.TrimPrefix(listen, unixPrefix)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestListenWhereAnotherListens(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			noLeaks(t)
			first := newNode(t, func(o *Options) { o.Listen, o.Secret = way.listen(t), way.secret })
			second := newNode(t, func(o *Options) { o.Secret = way.secret })
			second.listen = first.Address()
			err := second.Listen()
			if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), first.Address()) ||
				strings.Contains(err.Error(), "\n") {
				t.Fatalf("got %v", err)
			}
			second.Close()
			call(t, dial(t, newNode(t, func(o *Options) { o.Secret = way.secret }), first), "still there")
		})
	}
}

func TestListenTwiceOrNowhere(t *testing.T) {
	noLeaks(t)
	if err := newServer(t, Limits{}).Listen(); err == nil {
		t.Error("a second Listen worked")
	}
	if err := newNode(t, nil).Listen(); err == nil {
		t.Error("Listen without an address worked")
	}
}

func TestUnixSocketFile(t *testing.T) {
	noLeaks(t)
	listen := socketPath(t)
	path := staleSocket(t, listen) // is replaced
	server := newNode(t, func(o *Options) { o.Listen = listen })
	file, err := os.Lstat(path)
	if err != nil || file.Mode() != fs.ModeSocket|0o600 {
		t.Fatalf("%v, %v", file.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Fatalf("left beside the socket: %v, %v", entries, err)
	}
	call(t, dial(t, newNode(t, nil), server), "hello")
	server.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("after Close: %v", err)
	}
}

func TestCloseLeavesAnothersSocketFile(t *testing.T) {
	noLeaks(t)
	listen := socketPath(t)
	path := strings.TrimPrefix(listen, unixPrefix)
	first := newNode(t, func(o *Options) { o.Listen = listen })
	if err := os.Remove(path); err != nil { // as a cleaner of temporary files may do
		t.Fatal(err)
	}
	second := newNode(t, func(o *Options) { o.Listen = listen })
	first.Close()
	call(t, dial(t, newNode(t, nil), second), "still there")
}

func TestListenKeepsAFileThatIsNoSocket(t *testing.T) {
	noLeaks(t)
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, nil)
	n.listen = unixPrefix + path
	if err := n.Listen(); err == nil || errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "no socket") {
		t.Fatalf("got %v", err)
	}
	if data, err := os.ReadFile(path); string(data) != "data" {
		t.Fatalf("%q, %v", data, err)
	}
	n.listen = unixPrefix + filepath.Join(t.TempDir(), "absent", "s")
	if err := n.Listen(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
	n.listen = unixPrefix + filepath.Join(t.TempDir(), strings.Repeat("x", maxSocketPath))
	if err := n.Listen(); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Fatalf("got %v", err)
	}
}

// Of many processes that find the same stale socket one listens, and stays reachable.
func TestOnlyOneReplacesAStaleSocket(t *testing.T) {
	noLeaks(t)
	for range 50 { // it is a race, so that once would prove little
		listen := socketPath(t)
		staleSocket(t, listen)
		winner := replaceAtOnce(t, listen, 8)
		call(t, dial(t, newNode(t, nil), winner), "hello")
		winner.session(t, 0)
	}
}

// replaceAtOnce lets n nodes listen on one address and returns the one that does.
func replaceAtOnce(t *testing.T, listen string, n int) *node {
	t.Helper()
	var group sync.WaitGroup
	nodes, errs := make([]*node, n), make([]error, n)
	for i := range nodes {
		nodes[i] = newNode(t, nil)
		nodes[i].listen = listen
		group.Go(func() { errs[i] = nodes[i].Listen() })
	}
	group.Wait()
	var winner *node
	for i, err := range errs {
		if err == nil && winner != nil {
			t.Fatal("two nodes listen")
		}
		if err == nil {
			winner = nodes[i]
		} else if !errors.Is(err, ErrInUse) {
			t.Fatalf("got %v", err)
		}
	}
	if winner == nil {
		t.Fatal("none listens")
	}
	return winner
}

func TestGone(t *testing.T) {
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
	for _, address := range []string{refusing, "localhost:" + port, socketPath(t), stale} {
		for _, secret := range []Secret{nil, Secret(testSecret)} {
			n := newNode(t, func(o *Options) { o.Secret = secret })
			if _, err := n.Dial(context.Background(), address); !errors.Is(err, ErrGone) {
				t.Errorf("%s: %v", address, err)
			}
		}
	}
}

// Only a refusal on this host is a proof.
func TestNotGone(t *testing.T) {
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
	addresses := []string{closing.Addr().String(), unixPrefix + filepath.Join(file, "below")}
	for _, ip := range foreignIPs(t) {
		addresses = append(addresses, net.JoinHostPort(ip, "1"))
	}
	for _, address := range addresses {
		if _, err := n.Dial(context.Background(), address); err == nil || errors.Is(err, ErrGone) {
			t.Errorf("%s: %v", address, err)
		}
	}
	plain := newNode(t, nil)
	if _, err := plain.Dial(context.Background(), "192.0.2.1:9000"); err == nil ||
		!strings.Contains(err.Error(), "without secret or tls") {
		t.Errorf("dialled without a secret: %v", err)
	}
}

// foreignIPs returns this host's addresses that are not loopback: connections to them are
// refused at once, but might as well be another host's refusal.
func foreignIPs(t *testing.T) []string {
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
