package transport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
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
			first := newNode(t, func(o *Options) { o.Listen, o.Secret = []string{way.listen(t)}, way.secret })
			second := newNode(t, func(o *Options) { o.Secret = way.secret })
			second.listen = []string{first.Address()}
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
	server := newNode(t, func(o *Options) { o.Listen = []string{listen} })
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

// Whoever holds an address that a process is known by keeps it until its end.
func TestASocketWhoseFileWasRemovedIsStillInUse(t *testing.T) {
	noLeaks(t)
	listen := socketPath(t)
	path := strings.TrimPrefix(listen, unixPrefix)
	first := newNode(t, func(o *Options) { o.Listen = []string{listen} })
	if err := os.Remove(path); err != nil { // as a cleaner of temporary files may do
		t.Fatal(err)
	}
	second := newNode(t, nil)
	second.listen = []string{listen}
	if err := second.Listen(); !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v", err)
	}
	first.Close()
	if err := second.Listen(); err != nil {
		t.Fatal(err)
	}
}

func TestCloseLeavesAnothersSocketFile(t *testing.T) {
	noLeaks(t)
	listen := socketPath(t)
	path := strings.TrimPrefix(listen, unixPrefix)
	server := newNode(t, func(o *Options) { o.Listen = []string{listen} })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	staleSocket(t, listen) // of somebody else
	server.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
}

// Who looks for a free address disturbs nobody who listens.
func TestLookingForAFreeAddressIsNotSeen(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			noLeaks(t)
			first := newNode(t, func(o *Options) { o.Listen, o.Secret = []string{way.listen(t)}, way.secret })
			second := newNode(t, func(o *Options) { o.Secret = way.secret })
			second.listen = []string{first.Address(), way.listen(t)}
			if err := second.Listen(); err != nil || second.Address() == first.Address() {
				t.Fatalf("listens at %s, %v", second.Address(), err)
			}
			call(t, dial(t, newNode(t, func(o *Options) { o.Secret = way.secret }), first), "hello")
			if stats := first.Stats(); stats.Accepted != 1 || len(stats.Faults) != 0 {
				t.Errorf("the first one has seen %+v", stats)
			}
		})
	}
}

func TestEveryAddressInUse(t *testing.T) {
	noLeaks(t)
	one, two := newServer(t, Limits{}), newServer(t, Limits{})
	n := newNode(t, nil)
	n.listen = []string{one.Address(), two.Address()}
	err := n.Listen()
	if !errors.Is(err, ErrInUse) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{one.Address() + " to " + two.Address(), "all 2 addresses are in use"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
}

// What cannot be used at all is an error, and no reason to go on to the next.
func TestOnlyAnAddressInUseIsPassedOver(t *testing.T) {
	noLeaks(t)
	n := newNode(t, nil)
	n.listen = []string{unixPrefix + filepath.Join(t.TempDir(), "absent", "s"), "127.0.0.1:0"}
	if err := n.Listen(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}

// A free range is shared by processes that start at once, each with an address of its own.
func TestManyTakeARangeAtOnce(t *testing.T) {
	noLeaks(t)
	const n = 8
	folder := t.TempDir()
	var candidates []string
	for i := range n {
		candidates = append(candidates, fmt.Sprintf("%s%s/%d", unixPrefix, folder, i))
	}
	var group sync.WaitGroup
	addresses := make([]string, n)
	for i := range n {
		node := newNode(t, nil)
		node.listen = candidates
		group.Go(func() {
			var err error
			if addresses[i], err = node.Bind(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	slices.Sort(addresses)
	if !slices.Equal(addresses, candidates) {
		t.Errorf("got %v", addresses)
	}
}

func TestAConnectionWaitsBetweenBindAndListen(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			noLeaks(t)
			server := newNode(t, func(o *Options) { o.Secret = way.secret })
			server.listen = []string{way.listen(t)}
			address, err := server.Bind()
			if err != nil || address != server.Address() {
				t.Fatalf("%q, %v", address, err)
			}
			if _, err := server.Bind(); err == nil {
				t.Error("a second Bind worked")
			}
			waiting := rawConn(t, server)
			if n := server.Stats().PendingHandshakes; n != 0 {
				t.Error("a handshake before Listen")
			}
			if err := server.Listen(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "a handshake", func() bool { return server.Stats().PendingHandshakes == 1 })
			_ = waiting.Close()
			call(t, dial(t, newNode(t, func(o *Options) { o.Secret = way.secret }), server), "hello")
		})
	}
}

func TestWhatPeersAreToldToDial(t *testing.T) {
	noLeaks(t)
	for _, c := range []struct{ listen, told, want string }{
		{"127.0.0.1:0", "", "127.0.0.1:port"},
		{"localhost:0", "", "localhost:port"},
		{"0.0.0.0:0", "127.0.0.1", "127.0.0.1:port"},
		{"[::]:0", "[::1]", "[::1]:port"},
		{"127.0.0.1:0", "cache-1.example.org", "cache-1.example.org:port"},
		{"127.0.0.1:0", "cache-1.example.org:9000", "cache-1.example.org:9000"},
	} {
		server := newNode(t, func(o *Options) {
			o.Listen, o.Self.Address, o.Secret = []string{c.listen}, c.told, Secret(testSecret)
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
		if told := session.Peer().Address; told != server.Address() {
			t.Errorf("its hello tells %q", told)
		}
	}
}

func TestAdmission(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			noLeaks(t)
			known := way.listen(t)
			member := newNode(t, func(o *Options) { o.Listen, o.Secret = []string{known}, way.secret })
			picky := newNode(t, func(o *Options) {
				o.Listen, o.Secret = []string{way.listen(t)}, way.secret
				o.Admit = func(p Peer) error {
					if p.Address != member.Address() {
						return fmt.Errorf("%q is not on the list", p.Address)
					}
					return nil
				}
			})
			stranger := newNode(t, func(o *Options) { o.Listen, o.Secret = []string{way.listen(t)}, way.secret })

			call(t, dial(t, member, picky), "let in")
			call(t, dial(t, picky, member), "dialled")
			if _, err := stranger.Dial(context.Background(), picky.Address()); !errors.Is(err, ErrNotAdmitted) ||
				!strings.Contains(err.Error(), `not admitted by the other side: "`+stranger.Address()) {
				t.Errorf("the stranger was let in, or not told: %v", err)
			}
			if ups, _, _, _ := stranger.seen(); ups != 0 {
				t.Error("the stranger had a session")
			}
			waitFault(t, picky, ReasonNotAdmitted)
			if _, err := picky.Dial(context.Background(), stranger.Address()); !errors.Is(err, ErrNotAdmitted) ||
				!strings.Contains(err.Error(), "not on the list") {
				t.Errorf("a stranger was dialled: %v", err)
			}
			if faults := picky.Stats().Faults; faults[ReasonNotAdmitted] != 2 || len(faults) != 1 {
				t.Errorf("faults: %v", faults)
			}
			if ups, _, _, _ := picky.seen(); ups != 2 {
				t.Errorf("%d sessions, want those with the member", ups)
			}
			if log := picky.logged(); !strings.Contains(log, stranger.Address()+`" is not on the list`) ||
				!strings.Contains(log, "connection with ") {
				t.Errorf("logged: %s", log)
			}
		})
	}
}

func TestListenKeepsAFileThatIsNoSocket(t *testing.T) {
	noLeaks(t)
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, nil)
	n.listen = []string{unixPrefix + path}
	if err := n.Listen(); err == nil || errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "no socket") {
		t.Fatalf("got %v", err)
	}
	if data, err := os.ReadFile(path); string(data) != "data" {
		t.Fatalf("%q, %v", data, err)
	}
	n.listen = []string{unixPrefix + filepath.Join(t.TempDir(), "absent", "s")}
	if err := n.Listen(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
	n.listen = []string{unixPrefix + filepath.Join(t.TempDir(), strings.Repeat("x", maxSocketPath))}
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
		nodes[i].listen = []string{listen}
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
