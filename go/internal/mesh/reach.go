package mesh

import (
	"fmt"
	"strings"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// provesEnd reports whether a member is proved to have ended (R3). Only a process on the same system
// can prove that.
func (m *Mesh) provesEnd(row coherence.Row) bool {
	return row.Host != "" && row.Host == m.Host && hasEnded(row.Incarnation)
}

// mayReach reports whether a member's address can lead to it from here. A path or a loopback address
// of another system would lead to another process, or to this one.
func (m *Mesh) mayReach(row coherence.Row) bool {
	if row.Host == "" || m.Host == "" || !transport.IsLocal(row.Address) {
		return true
	}
	theirs, ours := strings.Fields(row.Host), strings.Fields(m.Host)
	same := 3 // name, boot, network namespace
	if strings.HasPrefix(row.Address, "unix:") {
		same = 2
	}
	return len(theirs) >= same && strings.Join(theirs[1:same], " ") == strings.Join(ours[1:same], " ")
}

// unreachable returns the warning about a member that cannot be connected with.
func unreachable(row coherence.Row, reason string) string {
	where := row.Address
	if name, _, ok := strings.Cut(row.Host, " "); ok {
		where += " on " + name
	}
	return fmt.Sprintf("the process at %s uses the same database and cannot be reached (%s): all reads stay correct,"+
		" but each of the two processes is marked out when the other one writes; give both a `listen` address that the"+
		" other one reaches, and the same `secret`", where, reason)
}
