package transport

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestListenWhereAnotherProcessListens(t *testing.T) {
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

// A process that looks for a free address does not disturb the ones that listen.
func TestLookingForAFreeAddressDisturbsNobody(t *testing.T) {
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
				t.Errorf("the first one has counted %+v", stats)
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

// An address that cannot be used at all is an error, and the next one is not tried.
func TestOnlyAnAddressInUseIsSkipped(t *testing.T) {
	noLeaks(t)
	n := newNode(t, nil)
	n.listen = []string{unixPrefix + filepath.Join(t.TempDir(), "absent", "s"), "127.0.0.1:0"}
	if err := n.Listen(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}

// Processes that start at the same time with one range each get an address of their own.
func TestManyProcessesShareARange(t *testing.T) {
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
