package mesh

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"guillotina_groupcache/internal/transport"
)

// names is a DNS server on loopback that every resolution of the test goes to.
type names struct {
	mu      sync.Mutex
	answers map[string][]netip.Addr // by name; without one the server fails
	asked   int                     // for addresses of IPv4
}

func newNames(t *testing.T) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &names{answers: make(map[string][]netip.Addr)}
	var serving sync.WaitGroup
	serving.Go(func() { s.serve(conn) })
	system := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = system
		_ = conn.Close()
		serving.Wait()
	})
	return s
}

func (s *names) set(name string, ips ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.answers, name)
	for _, ip := range ips {
		s.answers[name] = append(s.answers[name], netip.MustParseAddr(ip))
	}
}

func (s *names) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *names) serve(conn net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = conn.WriteTo(s.answer(buf[:n]), from)
	}
}

// answer follows RFC 1035: a header of 12 bytes, the queried name in labels, type and class.
func (s *names) answer(query []byte) []byte {
	const typeA, failed = 1, 2
	var labels []string
	end := 12
	for ; query[end] != 0; end += 1 + int(query[end]) {
		labels = append(labels, string(query[end+1:end+1+int(query[end])]))
	}
	queried := query[12 : end+5]
	kind := binary.BigEndian.Uint16(query[end+1:])

	s.mu.Lock()
	defer s.mu.Unlock()
	if kind == typeA {
		s.asked++
	}
	ips := s.answers[strings.Join(labels, ".")]
	answer := append([]byte(nil), query[:2]...)
	if len(ips) == 0 {
		answer = append(answer, 0x80, failed, 0, 1, 0, 0, 0, 0, 0, 0)
		return append(answer, queried...)
	}
	if kind != typeA {
		ips = nil
	}
	answer = append(answer, 0x80, 0, 0, 1, 0, byte(len(ips)), 0, 0, 0, 0)
	answer = append(answer, queried...)
	for _, ip := range ips {
		answer = append(answer, 0xc0, 12, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4) // the queried name, class, TTL, length
		answer = append(answer, ip.AsSlice()...)
	}
	return answer
}

func TestNamesAreResolvedAgain(t *testing.T) {
	noLeaks(t)
	server := newNames(t)
	server.set("cache.test", "10.0.0.1", "10.0.0.2")
	j, changes := new(journal), make(chan struct{}, 100)
	a := newAdmission([]string{"dns:cache.test.:9000"}, j.log, func() { changes <- struct{}{} })
	ctx, stop := context.WithCancel(t.Context())
	if !a.resolve(ctx) {
		t.Error("the first answer changed nothing")
	}
	var running sync.WaitGroup
	running.Go(func() { a.run(ctx) })
	defer running.Wait()
	defer stop()
	for address, want := range map[string]bool{
		"10.0.0.1:9000": true, "10.0.0.2:9000": true, "10.0.0.1:9001": false, "10.0.0.3:9000": false,
	} {
		if a.admits(address) != want {
			t.Errorf("%s is admitted: %v", address, !want)
		}
	}

	server.set("cache.test", "10.0.0.2", "10.0.0.3")
	eventually(t, "a new address is admitted, one that is gone is not", func() bool {
		return a.admits("10.0.0.3:9000") && a.admits("10.0.0.2:9000") && !a.admits("10.0.0.1:9000")
	})
	<-changes

	server.set("cache.test")
	eventually(t, "the log says that the name fails", func() bool { return j.count("cannot be resolved") == 1 })
	if !a.admits("10.0.0.3:9000") || !a.admits("10.0.0.2:9000") || j.count("2 addresses stay admitted") != 1 {
		t.Errorf("the last good answer is not kept: %v", j.lines)
	}
	failures := server.times()
	eventually(t, "it is resolved again", func() bool { a.admits("10.9.9.9:1"); return server.times() > failures+3 })
	server.set("cache.test", "10.0.0.4")
	eventually(t, "it is found again", func() bool { return a.admits("10.0.0.4:9000") })
	for line, times := range map[string]int{"cannot be resolved": 1, "is resolved again": 1, "the process at 10.9.9.9:1": 1} {
		if n := j.count(line); n != times {
			t.Errorf("%d lines with %q, want %d: %v", n, line, times, j.lines)
		}
	}
}

// Rejected addresses, however many, do not make it resolve all the time.
func TestResolutionsForRejectedAddressesAreFew(t *testing.T) {
	noLeaks(t)
	server := newNames(t)
	server.set("cache.test", "10.0.0.1")
	a := newAdmission([]string{"dns:cache.test.:9000"}, new(journal).log, func() {})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.run(ctx) })
	began, rejected := time.Now(), 0
	eventually(t, "it resolves three times", func() bool {
		for range 1000 {
			rejected++
			a.admits(fmt.Sprintf("10.0.0.2:%d", rejected))
		}
		return server.times() >= 3
	})
	stop()
	running.Wait()
	if took := time.Since(began); took < 3*resolveSoonest {
		t.Errorf("it resolved three times in %v", took)
	}
}

func TestANameThatHasNoAddressAtStart(t *testing.T) {
	server := newNames(t)
	address := unixAddress(t)
	m, j := open(t, Options{Transport: transport.Options{Listen: []string{address}}, Admit: []string{"dns:nobody.test.:9000"}})
	if n := j.count("dns:nobody.test.:9000 cannot be resolved"); n != 1 {
		t.Errorf("%d lines say so", n)
	}
	if !m.admission.admits(address) {
		t.Error("it does not admit itself")
	}
	server.set("nobody.test", "127.0.0.1")
	eventually(t, "the name is found", func() bool { return m.admission.admits("127.0.0.1:9000") })
}
