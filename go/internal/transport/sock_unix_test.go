package transport

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// staleSocket leaves a socket file behind, as a killed process does.
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

func TestUnixSocketFile(t *testing.T) {
	noLeaks(t)
	listen := socketPath(t)
	path := staleSocket(t, listen) // the server replaces it
	server := newNode(t, func(o *Options) { o.Listen = []string{listen} })
	file, err := os.Lstat(path)
	if err != nil || file.Mode() != fs.ModeSocket|0o600 {
		t.Fatalf("%v, %v", file.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Fatalf("files beside the socket: %v, %v", entries, err)
	}
	call(t, dial(t, newNode(t, nil), server), "hello")
	server.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("after Close: %v", err)
	}
}

// A process keeps the address that others know it by until it ends.
func TestASocketWhoseFileWasRemovedIsStillInUse(t *testing.T) {
	noLeaks(t)
	listen := socketPath(t)
	path := strings.TrimPrefix(listen, unixPrefix)
	first := newNode(t, func(o *Options) { o.Listen = []string{listen} })
	if err := os.Remove(path); err != nil { // as a cleaner of temporary files might
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

func TestCloseKeepsTheSocketFileOfAnotherProcess(t *testing.T) {
	noLeaks(t)
	listen := socketPath(t)
	path := strings.TrimPrefix(listen, unixPrefix)
	server := newNode(t, func(o *Options) { o.Listen = []string{listen} })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	staleSocket(t, listen) // of another process
	server.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
}

func TestListenKeepsAFileThatIsNotASocket(t *testing.T) {
	noLeaks(t)
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, nil)
	n.listen = []string{unixPrefix + path}
	if err := n.Listen(); err == nil || errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "not a socket") {
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

// Of many processes that find the same stale socket exactly one listens, and stays reachable.
func TestOnlyOneReplacesAStaleSocket(t *testing.T) {
	noLeaks(t)
	for range 50 { // it is a race, so one try would prove little
		listen := socketPath(t)
		staleSocket(t, listen)
		winner := replaceAtOnce(t, listen, 8)
		call(t, dial(t, newNode(t, nil), winner), "hello")
		winner.session(t, 0)
	}
}

// replaceAtOnce has n nodes listen on one address at once and returns the one that succeeds.
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
