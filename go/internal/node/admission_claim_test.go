package node

import (
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"guillotina_groupcache/internal/transport"
)

func TestAnAdvertisedAddressIsWhatOthersDial(t *testing.T) {
	db := newDatabase()
	a := open(t, db, settings{"listen": "0.0.0.0:0", "advertise": "127.0.0.1", "secret": testSecret})
	b := open(t, db, settings{"listen": "0.0.0.0:0", "advertise": "localhost", "secret": testSecret})
	together(t, a, b)
	_, port, _ := net.SplitHostPort(a.mesh.Address)
	if a.mesh.Address != "127.0.0.1:"+port || port == "0" || !slices.Contains(b.owners(), a.mesh.Address) {
		t.Errorf("it advertises %s", a.mesh.Address)
	}
}

// forward forwards connections, as the published port of a container or a load balancer does.
func forward(t *testing.T, to string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	conns := make(chan net.Conn, 100)
	all.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			conns <- in
			conns <- out
			all.Go(func() { _, _ = in.(*net.TCPConn).ReadFrom(out); _ = in.Close() })
			all.Go(func() { _, _ = out.(*net.TCPConn).ReadFrom(in); _ = out.Close() })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		for len(conns) > 0 {
			_ = (<-conns).Close()
		}
		all.Wait()
	})
	return listener.Addr().String()
}

func TestTwoProcessesThatClaimOneAddress(t *testing.T) {
	db := newDatabase()
	one, two := tcpAddress(t), tcpAddress(t)
	public := forward(t, one)
	a := open(t, db, with(at(one), settings{"advertise": public})) // it reaches itself there
	eventually(t, "it serves", a.serves)
	if a.mesh.Address != public || a.mesh.Host != "" {
		t.Errorf("it is known as %s", a.mesh.Address)
	}
	cfg := with(settings{"listen": two, "advertise": public, "secret": testSecret})
	n, err := Open(form(cfg))
	if err == nil {
		n.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "advertise "+public+": another process answers there") ||
		strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	a.write("k", "v", true)
	if got := a.get("k"); got != "v" || !a.serves() {
		t.Errorf("the first one was disturbed: got %q", got)
	}
}

// The second process may begin during a partition, so the first one checks too.
func TestAProcessRefusesAnotherThatClaimsItsAddress(t *testing.T) {
	noLeaks(t)
	db := newDatabase()
	p := cluster(t, db, tcpAddress(t))[0]
	claimant := &fakePeer{}
	var err error
	claimant.Transport, err = transport.New(transport.Options{
		Listen: []string{tcpAddress(t)}, Identity: newIdentity(t), Self: transport.Peer{Address: p.mesh.Address},
		Secret: transport.Secret(testSecret), Handler: claimant})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(claimant.Close)
	if _, err := claimant.Bind(); err != nil {
		t.Fatal(err)
	}
	if _, err := claimant.Dial(t.Context(), p.mesh.Address); !errors.Is(err, transport.ErrNotAdmitted) ||
		!strings.Contains(err.Error(), "it has the same address as this process") {
		t.Errorf("got %v", err)
	}
	eventually(t, "it is counted", func() bool { return p.mesh.Transport.Stats().Faults[transport.ReasonNotAdmitted] == 1 })
}

// In some networks no way leads from a process to itself: the log says so, and it is no error.
func TestAnAdvertisedAddressThatDoesNotAnswer(t *testing.T) {
	p := open(t, newDatabase(), with(at(tcpAddress(t)), settings{"advertise": tcpAddress(t)}))
	eventually(t, "it serves", p.serves)
	eventually(t, "the log says so", func() bool { return p.logLines("does not reach itself at the address that it advertises") == 1 })
}
