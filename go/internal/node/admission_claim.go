package node

import (
	"context"
	"errors"
	"fmt"
	"net"

	"guillotina_groupcache/internal/transport"
)

// advertised tells whether others dial another address than the one where this process
// listens. What answers there, or refuses, need not be this process or its system. An address
// of an own interface, with the port that was bound, is its own.
func (n *Node) advertised() bool {
	_, _, err := net.SplitHostPort(n.cfg.Advertise)
	withPort := err == nil
	return n.cfg.Advertise != "" && (withPort || !transport.IsOwn(n.address))
}

// checkClaim makes sure that who dials the advertised address does not reach another process.
// Nobody has to answer there: not every network leads a process to itself.
func (n *Node) checkClaim() error {
	ctx, cancel := context.WithTimeout(n.life, peerTimeout)
	defer cancel()
	session, err := n.transport.Dial(ctx, n.address)
	if err == nil {
		session.Close(nil)
	}
	// A process always lets itself in.
	if errors.Is(err, transport.ErrNotAdmitted) || err == nil && session.Peer().Incarnation != uint64(n.incarnation) {
		return fmt.Errorf("advertise %s: another process answers there: each process needs an address of its own", n.address)
	}
	if err != nil {
		n.log("info", fmt.Sprintf("this process does not reach itself at the address that it advertises (%v):"+
			" see that the others do", err))
	}
	return nil
}
