package transport

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// withDescriptors sets the limit of this process's descriptors until the end of the test.
func withDescriptors(t *testing.T, limit uint64) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	set := func(to syscall.Rlimit) {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &to); err != nil {
			t.Fatal(err)
		}
	}
	set(syscall.Rlimit{Cur: limit, Max: before.Max})
	t.Cleanup(func() { set(before) })
}

// A process that runs out of descriptors logs that once, and once that it has some again.
func TestAnAcceptOutageIsLoggedOnce(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", socketPath(t)} {
		noLeaks(t)
		server := newNode(t, func(o *Options) { o.Listen, o.Secret = []string{listen}, Secret(testSecret) })
		client := secretNode(t)
		call(t, dial(t, client, server), "before")
		withDescriptors(t, uint64(openFiles(t)+8))
		var held []*os.File
		for {
			f, err := os.Open(os.DevNull)
			if err != nil {
				break
			}
			held = append(held, f)
		}
		waiting := pendingDial(t, held[0], server.Address())
		waitFor(t, "it fails more than once", func() bool { return server.Stats().Faults[ReasonAccept] > 3 })
		for _, f := range held[1:] {
			_ = f.Close()
		}
		waitFor(t, "the end is logged", func() bool { return strings.Contains(server.logged(), "accepts connections again") })
		_ = syscall.Close(waiting)
		call(t, dial(t, client, server), "after")
		log := server.logged()
		if n := strings.Count(log, "cannot accept connections"); n != 1 || strings.Count(log, "accepts connections again") != 1 {
			t.Errorf("logged %s", log)
		}
	}
}

// pendingDial connects to an address. It closes a file first to get a descriptor.
func pendingDial(t *testing.T, file *os.File, address string) (fd int) {
	t.Helper()
	var to syscall.Sockaddr
	family := syscall.AF_UNIX
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		to = &syscall.SockaddrUnix{Name: path}
	} else {
		at, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		family, to = syscall.AF_INET, &syscall.SockaddrInet4{Port: at.Port, Addr: [4]byte(at.IP.To4())}
	}
	_ = file.Close()
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Connect(fd, to)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}
