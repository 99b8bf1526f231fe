package transport

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// sourceOf names where an inbound connection comes from, so that one that opens many is told from
// many that open one: an address, of IPv6 the network of 64 bits, as one host has all of its
// addresses; of a unix socket the process.
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

// processOf names the process at the other end of a unix socket. All those of other process
// namespaces, which have no number here, are one.
func processOf(conn net.Conn) string {
	who := &unix.Ucred{}
	if system, ok := conn.(syscall.Conn); ok {
		if raw, err := system.SyscallConn(); err == nil { // else it is closed already
			_ = raw.Control(func(fd uintptr) {
				if found, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
					who = found
				}
			})
		}
	}
	return fmt.Sprintf("process %d", who.Pid)
}

// oldestOfBusiest returns which of a list that is not empty, oldest first, has to go: the oldest
// one of the source that has the most.
func oldestOfBusiest[T any](list []T, source func(T) string) int {
	counts := make(map[string]int)
	most := 0
	for _, one := range list {
		from := source(one)
		counts[from]++
		most = max(most, counts[from])
	}
	return slices.IndexFunc(list, func(one T) bool { return counts[source(one)] == most })
}
