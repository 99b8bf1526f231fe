package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
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

// Kinds that the recorder answers to.
const (
	kindEcho  FrameKind = 1 + iota // answers the body
	kindFail                       // answers an error with the body as its text
	kindHold                       // answers when the test says so
	kindPanic                      // panics
	kindSize                       // answers as many bytes as the body's uint32 says
	kindHang                       // blocks the reader until the test says so
)

// recorder is a handler that keeps what it saw.
type recorder struct {
	mu       sync.Mutex
	onUp     func(*Session)
	ups      []*Session
	downs    []error
	messages []string
	held     []func([]byte, error)
	hang     chan struct{}
}

func newRecorder() *recorder { return &recorder{hang: make(chan struct{})} }

func (r *recorder) Up(s *Session) {
	r.mu.Lock()
	r.ups = append(r.ups, s)
	onUp := r.onUp
	r.mu.Unlock()
	if onUp != nil {
		onUp(s)
	}
}

func (r *recorder) whenUp(do func(*Session)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onUp = do
}

func (r *recorder) Down(_ *Session, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.downs = append(r.downs, err)
}

func (r *recorder) Message(_ *Session, kind FrameKind, body []byte) {
	switch kind {
	case kindPanic:
		panic("on purpose")
	case kindHang:
		<-r.hang
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, string(body))
}

func (r *recorder) Request(_ *Session, kind FrameKind, body []byte, answer func([]byte, error)) {
	switch kind {
	case kindEcho:
		answer(body, nil)
		answer([]byte("a second answer"), nil)
	case kindFail:
		answer(nil, errors.New(string(body)))
	case kindHold:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.held = append(r.held, answer)
	case kindSize:
		answer(make([]byte, binary.BigEndian.Uint32(body)), nil)
	case kindPanic:
		panic("on purpose")
	}
}

func (r *recorder) seen() (ups, downs, messages, held int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ups), len(r.downs), len(r.messages), len(r.held)
}

// answerHeld answers all requests that were held back.
func (r *recorder) answerHeld(body []byte) {
	r.mu.Lock()
	held := r.held
	r.held = nil
	r.mu.Unlock()
	for _, answer := range held {
		answer(body, nil)
	}
}

func (r *recorder) session(t *testing.T, i int) *Session {
	t.Helper()
	waitFor(t, "session", func() bool { ups, _, _, _ := r.seen(); return ups > i })
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ups[i]
}

func (r *recorder) waitDowns(t *testing.T, n int) []error {
	t.Helper()
	waitFor(t, "Down", func() bool { _, downs, _, _ := r.seen(); return downs >= n })
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.downs
}

// node is a Transport with its handler and log.
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

// newIdentity makes the identity of one more process.
func newIdentity(t testing.TB) *Identity {
	t.Helper()
	identity, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

// newNode makes a node; change adapts its options. It closes with the test.
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

// ways are the kinds of connection that every behaviour must be the same over.
var ways = []struct {
	name   string
	listen func(testing.TB) string
	secret Secret
}{
	{"unix", socketPath, nil},
	{"tls", func(testing.TB) string { return "127.0.0.1:0" }, Secret(testSecret)},
	{"unix+tls", socketPath, Secret(testSecret)},
}

// rawListener listens at a unix socket, of which nothing is known but the address.
func rawListener(t testing.TB) (listener net.Listener, address string) {
	t.Helper()
	address = socketPath(t)
	listener, err := net.Listen("unix", strings.TrimPrefix(address, unixPrefix))
	if err != nil {
		t.Fatal(err)
	}
	return listener, address
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

// newServer makes a node that listens on a plain unix socket.
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

// call asks for an echo and checks it.
func call(t testing.TB, s *Session, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	body, err := s.Call(ctx, kindEcho, []byte(text))
	if err != nil || string(body) != text {
		t.Fatalf("echo of %.40q: %.40q, %v", text, body, err)
	}
}

// rawConn is a connection that speaks whatever the test writes.
func rawConn(t testing.TB, to *node) net.Conn {
	t.Helper()
	network, target := "tcp", to.Address()
	if path, ok := strings.CutPrefix(target, unixPrefix); ok {
		network, target = "unix", path
	}
	conn, err := net.Dial(network, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// greetedConn is a rawConn after an honest hello and proof.
func greetedConn(t testing.TB, to *node) net.Conn {
	t.Helper()
	conn := rawConn(t, to)
	if err := greetRaw(conn, newIdentity(t), true); err != nil {
		t.Fatal(err)
	}
	if err := readVerdict(conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// greetRaw exchanges hellos and proofs as an honest process does.
func greetRaw(conn net.Conn, identity *Identity, dialled bool) error {
	own := identity.newHello(Peer{})
	if _, err := conn.Write(own.encode()); err != nil {
		return err
	}
	other, err := readHello(conn)
	if err != nil {
		return err
	}
	return identity.prove(conn, conn, own, other, dialled)
}

// someHello is the bytes of a well-formed hello.
func someHello(t testing.TB, self Peer) []byte { return newIdentity(t).newHello(self).encode() }

// send writes, and minds no error: the other side may have closed already.
func send(t testing.TB, conn net.Conn, data []byte) {
	t.Helper()
	_, _ = conn.Write(data)
}

// waitClosed waits until the other side has closed the connection.
func waitClosed(t testing.TB, conn net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, conn)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Fatal("the connection is still open")
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
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// noLeaks checks at the end of the test, after all other clean-up, that as many goroutines
// run as now.
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
