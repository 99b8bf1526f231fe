package transport

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// sourceOf returns where an inbound connection comes from, by which connections are counted: of one
// source that opens many, an old one is closed first. For TCP it is the IP address, for IPv6 the /64
// network, as one host has all addresses of it; for a unix socket it is the process.
func sourceOf(conn net.Conn) string {
	if conn.RemoteAddr().Network() == "unix" {
		return processOf(conn)
	}
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return conn.RemoteAddr().String()
	}
	ip := at.Addr().Unmap()
	if ip.Is6() {
		if network, err := ip.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}

// processOf names the process at the other end of a unix socket. Processes of other pid namespaces,
// which have no pid here, all count as process 0.
func processOf(conn net.Conn) string {
	peer := &unix.Ucred{}
	if system, ok := conn.(syscall.Conn); ok {
		if raw, err := system.SyscallConn(); err == nil { // else it is closed already
			_ = raw.Control(func(fd uintptr) {
				if found, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
					peer = found
				}
			})
		}
	}
	return fmt.Sprintf("process %d", peer.Pid)
}

// oldestOfBusiest returns the index of the item to evict from a non-empty list, oldest first: the
// oldest item of the source that has the most.
func oldestOfBusiest[T any](list []T, source func(T) string) int {
	counts := make(map[string]int)
	most := 0
	for _, item := range list {
		from := source(item)
		counts[from]++
		most = max(most, counts[from])
	}
	return slices.IndexFunc(list, func(item T) bool { return counts[source(item)] == most })
}
