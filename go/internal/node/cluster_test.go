package node

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
)

func packed(elements ...string) (b []byte) {
	for _, e := range elements {
		b = bridge.AppendElement(b, []byte(e))
	}
	return b
}

// tcpAddress returns a free address of this host.
func tcpAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func unixAddress(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return "unix:" + filepath.Join(dir, "s")
}

// unansweredAddress returns an address where connections stay in the backlog.
func unansweredAddress(t testing.TB) string {
	t.Helper()
	address := unixAddress(t)
	l, err := net.Listen("unix", strings.TrimPrefix(address, "unix:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return address
}

// testSecret is for addresses of TCP, which need one.
const testSecret = "a secret of the tests, not of anybody"

// at is the settings of a process that listens at an address.
func at(address string) settings {
	s := settings{"listen": address}
	if !strings.HasPrefix(address, "unix:") {
		s["secret"] = testSecret
	}
	return s
}

// cluster opens processes at addresses and waits until each one serves and is connected with all others.
func cluster(t testing.TB, db *database, addresses ...string) []*process {
	t.Helper()
	var all []*process
	for _, address := range addresses {
		all = append(all, open(t, db, at(address)))
	}
	together(t, all...)
	return all
}

func three(t testing.TB, db *database) (a, b, c *process) {
	t.Helper()
	all := cluster(t, db, unixAddress(t), unixAddress(t), unixAddress(t))
	return all[0], all[1], all[2]
}

func together(t testing.TB, all ...*process) {
	t.Helper()
	for i, p := range all {
		eventually(t, fmt.Sprintf("process %d serves and reaches all others", i), func() bool {
			return p.serves() && p.reaches() == len(all)-1
		})
	}
}

// keyOf returns the nth key, from 0, that belongs to a process.
func keyOf(p *process, n int) string {
	for i := 0; ; i++ {
		if key := fmt.Sprintf("key %d", i); p.group.Owner([]byte(key)) == "" {
			if n == 0 {
				return key
			}
			n--
		}
	}
}

func wantResult(t testing.TB, r cache.Result, source cache.Source, value string) {
	t.Helper()
	if r.Source != source || string(r.Value) != value {
		t.Errorf("got %.40q from %d, want %.40q from %d", r.Value, r.Source, value, source)
	}
}
