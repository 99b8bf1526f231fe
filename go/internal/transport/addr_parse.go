package transport

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const unixPrefix = "unix:"

// maxAddress is the longest address, in bytes.
const maxAddress = 512

// address is where a process listens or dials.
type address struct {
	text    string // as configured, for messages
	network string // "tcp" or "unix"
	target  string // "host:port" or a path
	host    string // of tcp
	local   bool   // loopback or unix: on the host that dials it
}

// advertised returns the address that peers dial to reach a process that listens at a. configured
// is what the process was told to advertise: "host", "host:port", or "" for a itself.
func (a address) advertised(configured string) string {
	if configured == "" {
		return a.text
	}
	if _, _, err := net.SplitHostPort(configured); err == nil || a.network == "unix" {
		return configured
	}
	_, port, _ := net.SplitHostPort(a.target)
	return net.JoinHostPort(strings.Trim(configured, "[]"), port)
}

// wildcard reports whether the address stands for all addresses of a host.
func (a address) wildcard() bool {
	ip, err := netip.ParseAddr(a.host)
	return a.network == "tcp" && (a.host == "" || err == nil && ip.IsUnspecified())
}

// withPort returns the address with the port that the system has chosen, if the port was 0.
func (a address) withPort(bound net.Addr) address {
	tcp, ok := bound.(*net.TCPAddr)
	if host, port, _ := net.SplitHostPort(a.text); ok && port == "0" {
		port = strconv.Itoa(tcp.Port)
		a.text, a.target = net.JoinHostPort(host, port), net.JoinHostPort(a.host, port)
	}
	return a
}

// IsLocal reports whether an address always leads to the host that dials it: a unix socket, or
// loopback.
func IsLocal(text string) bool {
	a, err := splitAddress(text)
	return err == nil && a.local
}

// IsOwn reports whether an address belongs to this host: it is local, or that of an interface that
// the host has now. A host name is never its own, since it may mean another host as well.
func IsOwn(text string) bool {
	a, err := splitAddress(text)
	return err == nil && a.isOwn()
}

func (a address) isOwn() bool {
	if a.local {
		return true
	}
	ip := net.ParseIP(a.host)
	interfaces, err := net.InterfaceAddrs()
	return ip != nil && err == nil && slices.ContainsFunc(interfaces, func(one net.Addr) bool {
		network, ok := one.(*net.IPNet)
		return ok && network.IP.Equal(ip)
	})
}

// parseAddress reads "host:port" or "unix:/path". Unless connections are secured it allows unix
// sockets only, which no other user can open. Loopback is open to every user of the host, who could
// read all values, and could return values of their own, which means to run code.
func parseAddress(text string, secured bool) (address, error) {
	a, err := splitAddress(text)
	if err != nil {
		return a, err
	}
	if a.network != "unix" && !secured {
		return a, fmt.Errorf("address %q: TCP needs a secret or tls, also on loopback; without them give unix:/path", text)
	}
	return a, nil
}

func splitAddress(text string) (address, error) {
	if err := checkText(text); err != nil {
		return address{}, err
	}
	if path, ok := strings.CutPrefix(text, unixPrefix); ok {
		if !filepath.IsAbs(path) || len(path) > maxSocketPath {
			return address{}, fmt.Errorf("address %q: the path of a unix socket must be absolute and at most %d bytes long",
				text, maxSocketPath)
		}
		return address{text: text, network: "unix", target: filepath.Clean(path), local: true}, nil
	}
	host, port, err := net.SplitHostPort(Normalized(text))
	if err != nil {
		return address{}, fmt.Errorf("address %q is neither host:port nor unix:/path", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return address{}, fmt.Errorf("address %q: the port must be a number from 0 to 65535", text)
	}
	ip, err := netip.ParseAddr(host)
	local := err == nil && ip.IsLoopback()
	return address{text, "tcp", net.JoinHostPort(host, port), host, local}, nil
}

// Normalized returns the one spelling that "localhost" shares with the address that it means here: a
// resolver may answer with two addresses, and a process listens on only one of them.
func Normalized(text string) string {
	if host, port, err := net.SplitHostPort(text); err == nil && host == "localhost" {
		return "127.0.0.1:" + port
	}
	return text
}

// checkText refuses an address that would garble a log line or be truncated at a NUL byte. Addresses
// come from peers too, so this protects the log and not only the configuration.
func checkText(address string) error {
	if len(address) > maxAddress {
		return fmt.Errorf("address of %d bytes, at most %d are allowed", len(address), maxAddress)
	}
	if !utf8.ValidString(address) {
		return fmt.Errorf("address %q is not UTF-8", address)
	}
	for _, r := range address {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("address %q has a character that cannot be printed", address)
		}
	}
	return nil
}
