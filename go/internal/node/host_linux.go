package node

import (
	"os"
	"strings"
)

// thisHost names this system for the members table: the host's name, this boot of the kernel, and the network
// namespace. A loopback address, or the name of an abstract socket, means the same thing to two
// processes only if these are the same. "" where the system does not tell.
func thisHost() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	network, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return ""
	}
	return strings.Join([]string{hostName(), strings.TrimSpace(string(boot)), network}, " ")
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" || strings.ContainsRune(name, ' ') {
		return "unnamed"
	}
	return name
}
