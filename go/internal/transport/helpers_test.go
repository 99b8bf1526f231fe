package transport

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait of a test. No test asserts that anything is faster.
const patience = 20 * time.Second

const testSecret = "a secret of the tests, not of anybody"

// node is a Transport with its handler and its log.
type node struct {
	*Transport
	*recorder
	secret Secret
	logMu  sync.Mutex
	lines  []string
}

func (n *node) log(level, text string) {
	n.logMu.Lock()
	defer n.logMu.Unlock()
	n.lines = append(n.lines, level+": "+text)
}

func (n *node) logged() string {
	n.logMu.Lock()
	defer n.logMu.Unlock()
	return strings.Join(n.lines, "\n")
}

// newIdentity returns the identity of one more process.
func newIdentity(t testing.TB) *Identity {
	t.Helper()
	identity, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

// newNode returns a node; change adapts its options. It is closed at the end of the test.
func newNode(t testing.TB, change func(*Options)) *node {
	t.Helper()
	n := &node{recorder: newRecorder()}
	o := Options{Identity: newIdentity(t), Handler: n.recorder, Log: n.log}
	if change != nil {
		change(&o)
	}
	n.secret = o.Secret
	var err error
	if n.Transport, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	if len(o.Listen) > 0 {
		if err := n.Listen(); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// ways are the kinds of connection over which the behaviour must be the same.
var ways = []struct {
	name   string
	listen func(testing.TB) string
	secret Secret
}{
	{"unix", socketPath, nil},
	{"tls", func(testing.TB) string { return "127.0.0.1:0" }, Secret(testSecret)},
	{"unix+tls", socketPath, Secret(testSecret)},
}

func socketPath(t testing.TB) string { return unixPrefix + filepath.Join(t.TempDir(), "s") }

// eachWay runs a test with a listening and a dialling node over every kind of connection.
func eachWay(t *testing.T, limits Limits, test func(t *testing.T, server, client *node)) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			noLeaks(t)
			server := newNode(t, func(o *Options) { o.Listen, o.Secret, o.Limits = []string{way.listen(t)}, way.secret, limits })
			client := newNode(t, func(o *Options) { o.Secret, o.Limits = way.secret, limits })
			test(t, server, client)
		})
	}
}

// newServer returns a node that listens on a unix socket without TLS.
func newServer(t testing.TB, limits Limits) *node {
	return newNode(t, func(o *Options) { o.Listen, o.Limits = []string{socketPath(t)}, limits })
}

func dial(t testing.TB, from, to *node) *Session {
	t.Helper()
	s, err := from.Dial(context.Background(), to.Address())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// call requests an echo and checks it.
func call(t testing.TB, s *Session, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	body, err := s.Call(ctx, kindEcho, []byte(text))
	if err != nil || string(body) != text {
		t.Fatalf("echo of %.40q: %.40q, %v", text, body, err)
	}
}

func waitFault(t testing.TB, n *node, reason Reason) {
	t.Helper()
	waitFor(t, fmt.Sprintf("fault %q", reason), func() bool { return n.Stats().Faults[reason] > 0 })
}

func waitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting for: %s", what)
		}
	}
}

// noLeaks checks at the end of the test, after all other clean-up, that no more goroutines run
// than now.
func noLeaks(t testing.TB) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for end := time.Now().Add(patience); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				stacks := make([]byte, 1<<20)
				t.Fatalf("goroutines left over:\n%s", stacks[:runtime.Stack(stacks, true)])
			}
		}
	})
}

func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
