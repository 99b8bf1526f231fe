package mesh

import (
	"os"
	"strings"
)

// thisHost identifies this system in the members table: host name, boot of the kernel, network
// namespace. A loopback address, or the name of an abstract socket, means the same thing to two
// processes only if boot and namespace are the same. It returns "" where the system does not say.
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
