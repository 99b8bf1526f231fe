package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"guillotina_groupcache/internal/transport"
)

// claimTimeout bounds the attempt to reach oneself at the advertised address.
const claimTimeout = 2 * time.Second

// advertised reports whether others dial another address than the one where this process listens:
// then another process, or another system, may answer or refuse there. An address of an interface of
// this system, with the port that was bound, is where it listens.
func (m *Mesh) advertised() bool {
	advertised := m.Options.Transport.Self.Address
	_, _, err := net.SplitHostPort(advertised)
	withPort := err == nil
	return advertised != "" && (withPort || !transport.IsOwn(m.Address))
}

// checkClaim fails when another process answers at the advertised address. No answer is no failure:
// not every network leads a process to itself.
func (m *Mesh) checkClaim() error {
	ctx, cancel := context.WithTimeout(m.Options.Life, claimTimeout)
	defer cancel()
	session, err := m.Transport.Dial(ctx, m.Address)
	if err == nil {
		session.Close(nil)
	}
	// A process always admits itself.
	if errors.Is(err, transport.ErrNotAdmitted) || err == nil && session.Peer().Incarnation != uint64(m.Incarnation) {
		return fmt.Errorf("advertise %s: another process answers there: each process needs an address of its own", m.Address)
	}
	if err != nil {
		m.Options.Transport.Log("info", fmt.Sprintf("this process does not reach itself at the address that it advertises (%v):"+
			" check that the other processes reach it there", err))
	}
	return nil
}
