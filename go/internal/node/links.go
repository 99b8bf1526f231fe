package node

import (
	"context"
	"errors"
	"slices"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// Kinds of frames between nodes.
const (
	frameCoherence transport.FrameKind = iota + 1 // a message of package coherence
	frameGet                                      // names; answered with results
	framePut                                      // what an event has just written, see put
	frameStats                                    // answered with this process's statistics
)

var errSelf = errors.New("node: the session leads to this process itself")

// link is the connections with one other process. Each side prefers the one that it opened;
// with a client, which cannot be dialled, there is only the one that the client opened.
type link struct {
	address  string // "": a client
	sessions []*transport.Session
	current  *transport.Session // the one that is sent over
	stop     context.CancelFunc // ends the dialling; nil: nobody dials
	told     announcements
}

// membersChanged dials who has come and is let in, stops dialling who has gone, and makes the
// ring anew. The caller holds mu.
func (n *Node) membersChanged() {
	listed := make(map[coherence.Incarnation]bool)
	var ring []string
	for _, row := range n.machine.Rows() {
		listed[row.Incarnation] = true
		if row.Address == "" || !n.admission.admits(row.Address) {
			continue
		}
		if row.State == coherence.In {
			ring = append(ring, row.Address)
		}
		l := n.linkTo(row.Incarnation)
		l.address = row.Address
		if l.stop == nil && n.life.Err() == nil {
			var ctx context.Context
			ctx, l.stop = context.WithCancel(n.life)
			n.wg.Go(func() { n.keepDialling(ctx, row) })
		}
	}
	for who, l := range n.links {
		if !listed[who] && l.stop != nil {
			l.stop()
			l.stop = nil
			n.forget(who, l)
		}
	}
	slices.Sort(ring)
	if ring = slices.Compact(ring); !slices.Equal(ring, n.ring) {
		n.ring = ring
		if err := n.group.SetPeers(ring); err != nil {
			n.log("error", "the ring of owners cannot be made: "+err.Error())
		}
		n.breakers.keep(ring)
	}
}

func (n *Node) linkTo(who coherence.Incarnation) *link {
	l := n.links[who]
	if l == nil {
		l = &link{}
		n.links[who] = l
	}
	return l
}

// forget drops a link that leads nowhere and that nobody makes anew.
func (n *Node) forget(who coherence.Incarnation, l *link) {
	if len(l.sessions) == 0 && l.stop == nil {
		delete(n.links, who)
	}
}

// up takes a new session into use. What the member has not acknowledged is sent again over
// it before anything else is. The caller holds mu.
func (n *Node) up(s *transport.Session) {
	who := coherence.Incarnation(s.Peer().Incarnation)
	if who == n.incarnation {
		// An earlier process at this address has still a row, and so this one has dialled
		// itself. Nothing may come of it: a process is no member of its own.
		s.Close(errSelf)
		return
	}
	l := n.linkTo(who)
	l.sessions = append(l.sessions, s)
	n.use(who, l)
}

func (n *Node) down(s *transport.Session) {
	who := coherence.Incarnation(s.Peer().Incarnation)
	l := n.links[who]
	if l == nil {
		return
	}
	l.sessions = slices.DeleteFunc(l.sessions, func(x *transport.Session) bool { return x == s })
	n.use(who, l)
	n.forget(who, l)
}

// use picks the session to send over and tells the machine when it is another one.
func (n *Node) use(who coherence.Incarnation, l *link) {
	var best *transport.Session
	for _, s := range l.sessions {
		if best == nil || s.Outgoing() && !best.Outgoing() {
			best = s
		}
	}
	if best == l.current {
		return
	}
	l.current = best
	if best == nil {
		n.machine.Disconnected(who)
	} else {
		n.machine.Connected(now(), who)
	}
}

// sendCoherence sends a message of the machine. A session that cannot take it is closed:
// the next one begins with all that was not acknowledged.
func (n *Node) sendCoherence(to coherence.Incarnation, message *coherence.Message) {
	if l := n.links[to]; l != nil && l.current != nil {
		if err := l.current.Send(frameCoherence, message.Append(nil)); err != nil {
			l.current.Close(err)
		}
	}
}

// sessionTo returns the session with the owner at an address, or nil.
func (n *Node) sessionTo(address string) *transport.Session {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		if l.address == address && l.current != nil {
			return l.current
		}
	}
	return nil
}
