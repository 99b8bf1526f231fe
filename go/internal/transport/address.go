package transport

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

const unixPrefix = "unix:"

// address is where a process listens.
type address struct {
	text    string // as configured, for messages
	network string // "tcp" or "unix"
	target  string // "host:port" or a path
	host    string // of tcp
	local   bool   // loopback or unix: on this very host
}

// parseAddress reads "host:port" or "unix:/path". Unless secured, only addresses on this
// host are allowed: others could read and write the cache.
func parseAddress(text string, secured bool) (address, error) {
	a, err := splitAddress(text)
	if err != nil {
		return a, err
	}
	if !a.local && !secured {
		return a, fmt.Errorf("address %q: without secret or tls only loopback (127.0.0.1, [::1], localhost)"+
			" and unix:/path are allowed", text)
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
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return address{}, fmt.Errorf("address %q is neither host:port nor unix:/path", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return address{}, fmt.Errorf("address %q: the port must be a number from 0 to 65535", text)
	}
	// A resolver may answer "localhost" with two addresses, of which one refuses while the
	// process listens on the other: that would be no proof that it is gone.
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	local := err == nil && ip.IsLoopback()
	return address{text, "tcp", net.JoinHostPort(host, port), host, local}, nil
}
