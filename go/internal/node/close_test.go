package node

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// noLeaks checks at the end of the test, after all other clean-up, that as many goroutines run
// and as many descriptors are open as now.
func noLeaks(t *testing.T) {
	t.Helper()
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	// Go's poller opens descriptors of its own with the first socket.
	tcpAddress(t)
	goroutines, files := runtime.NumGoroutine(), descriptors()
	t.Cleanup(func() {
		end := time.Now().Add(patience)
		for runtime.NumGoroutine() > goroutines || descriptors() > files {
			if time.Now().After(end) {
				stacks := make([]byte, 1<<20)
				t.Fatalf("%d descriptors for %d; goroutines:\n%s", descriptors(), files, stacks[:runtime.Stack(stacks, true)])
			}
			time.Sleep(time.Millisecond)
		}
	})
}

func TestCloseWithReadsUnderWay(t *testing.T) {
	noLeaks(t)
	db := newDatabase()
	a, b, c := three(t, db)
	for _, p := range []*process{a, b, c} {
		defer p.pausePython()() // no Python answers a load
	}
	for i := range 50 {
		for _, p := range []*process{a, b, c} {
			p.begin(fmt.Sprint("key ", i))
			p.begin(fmt.Sprint("key ", i), fmt.Sprint("key ", i+1))
		}
	}
	if _, err := a.Announce("db", packed("k"), false); err != nil {
		t.Error(err)
	}
	a.PeerStats(1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, p := range []*process{a, b, c} {
			p.Close()
		}
	}()
	select {
	case <-done:
	case <-time.After(patience):
		stacks := make([]byte, 1<<20)
		t.Fatalf("Close hangs:\n%s", stacks[:runtime.Stack(stacks, true)])
	}
}

func TestOpenAndCloseManyTimes(t *testing.T) {
	noLeaks(t)
	db := newDatabase()
	stays := open(t, db, settings{"listen": unixAddress(t)})
	for i := range 10 {
		address := ""
		if i%2 == 0 {
			address = unixAddress(t)
		}
		p := open(t, db, settings{"listen": address})
		if i%3 == 0 {
			eventually(t, "it serves", p.serves)
			p.write("k", fmt.Sprint(i), true)
			p.Leave()
			eventually(t, "its row is gone", func() bool { return db.row(p.incarnationID()).State == "" })
		}
		p.end()
	}
	eventually(t, "it serves", stays.serves)
}

func TestOpenRefusesWhatItCannotDo(t *testing.T) {
	noLeaks(t)
	used := open(t, newDatabase(), settings{"listen": unixAddress(t)})
	for what, c := range map[string]struct {
		changes settings
		says    string
	}{
		"an address in use":         {settings{"listen": used.mesh.Address}, "in use"},
		"an open address":           {settings{"listen": "0.0.0.0:7000"}, "secret"},
		"a short secret":            {settings{"listen": "127.0.0.1:0", "secret": "short"}, "16"},
		"buckets, no power of two":  {settings{"buckets": 1000}, "power of two"},
		"no buckets":                {settings{"buckets": 0}, "power of two"},
		"no lease":                  {settings{"lease": 0}, "lease"},
		"a certificate that is not": {settings{"tls": settings{"cert": "/nowhere", "key": "/nowhere", "ca": "/nowhere"}}, "nowhere"},
	} {
		n, err := Open(form(with(c.changes)))
		if err == nil {
			n.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error that says %q", what, err, c.says)
		}
	}
	if _, err := Open([]byte("{")); err == nil {
		t.Error("half a configuration was taken")
	}
}

func TestASecretIsNeverPrinted(t *testing.T) {
	cfg, err := parseConfig(form(with(settings{"secret": "do not print me"})))
	if err != nil || string(cfg.Secret) != "do not print me" {
		t.Errorf("got a secret of %d bytes, %v", len(cfg.Secret), err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if text := fmt.Sprintf(verb, cfg); strings.Contains(text, "print") || strings.Contains(text, "646f20") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}
