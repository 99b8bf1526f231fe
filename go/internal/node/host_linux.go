package node

import (
	"os"
	"strings"
)

// thisHost names this system for the members table: the host's name, for people, then this boot of the kernel, the
// network namespace and the mount namespace. A loopback address, or a path, means the same
// thing to two processes only if these are the same. "" where the system does not tell.
func thisHost() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	parts := []string{hostName(), strings.TrimSpace(string(boot))}
	for _, namespace := range []string{"net", "mnt"} {
		id, err := os.Readlink("/proc/self/ns/" + namespace)
		if err != nil {
			return ""
		}
		parts = append(parts, id)
	}
	return strings.Join(parts, " ")
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" || strings.ContainsRune(name, ' ') {
		return "unnamed"
	}
	return name
}
