package node

import (
	"fmt"
	"strings"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// provesEnd tells whether a member is proved to have ended (R3): only on the system where it ran.
func (n *Node) provesEnd(row coherence.Row) bool {
	return row.Host != "" && row.Host == n.host && hasEnded(row.Incarnation)
}

// mayReach tells whether a member's address can lead to it from here. A path, or a loopback
// address, of another system would lead to somebody else, or to this process itself.
func (n *Node) mayReach(row coherence.Row) bool {
	if row.Host == "" || n.host == "" || !transport.IsLocal(row.Address) {
		return true
	}
	theirs, ours := strings.Fields(row.Host), strings.Fields(n.host)
	same := 3 // name, boot, network namespace
	if strings.HasPrefix(row.Address, "unix:") {
		same = 2
	}
	return len(theirs) >= same && strings.Join(theirs[1:same], " ") == strings.Join(ours[1:same], " ")
}

// unreachable is the warning about a member that cannot be talked to.
func unreachable(row coherence.Row, because string) string {
	where := row.Address
	if name, _, ok := strings.Cut(row.Host, " "); ok {
		where += " on " + name
	}
	return fmt.Sprintf("the process at %s uses the same database and cannot be reached (%s): nobody reads anything wrong,"+
		" but each of the two is put out when the other one writes; give both a `listen` address that the other one"+
		" reaches, and the same `secret`", where, because)
}
