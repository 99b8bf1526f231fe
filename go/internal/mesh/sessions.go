package mesh

import (
	"context"
	"errors"
	"slices"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

var errSelf = errors.New("mesh: the session leads to this process itself")

// Peer is another process. Each side sends over the session that it has opened itself; a client
// cannot be dialled, so both sides send over the one that the client has opened.
type Peer struct {
	Address   string // "": a client
	Sessions  []*transport.Session
	Current   *transport.Session // the one to send over; nil: there is none
	Announced Announcements

	stopDialling context.CancelFunc // nil: it is not dialled
}

// MembersChanged dials the members that have come and are admitted, stops dialling those that have
// gone, and calls Options.Owners when the owners of keys are others than before. The caller holds
// the lock.
func (m *Mesh) MembersChanged(machine *coherence.Machine) {
	listed := make(map[coherence.Incarnation]bool)
	var owners []string
	for _, row := range machine.Rows() {
		listed[row.Incarnation] = true
		if row.Address == "" || !m.admission.admits(row.Address) {
			continue
		}
		if row.State == coherence.In {
			owners = append(owners, row.Address)
		}
		m.dialMember(row)
	}
	for id, p := range m.Peers {
		if !listed[id] && p.stopDialling != nil {
			p.stopDialling()
			p.stopDialling = nil
			m.forgetUnused(id, p)
		}
	}
	slices.Sort(owners)
	if owners = slices.Compact(owners); !slices.Equal(owners, m.owners) {
		m.owners = owners
		m.Options.Owners(owners)
		m.Breakers.keep(owners)
	}
}

// dialMember begins to dial a member, unless it is dialled already.
func (m *Mesh) dialMember(row coherence.Row) {
	p := m.peer(row.Incarnation)
	p.Address = row.Address
	if p.stopDialling == nil && m.Options.Life.Err() == nil {
		var ctx context.Context
		ctx, p.stopDialling = context.WithCancel(m.Options.Life)
		m.Options.Go(func() { m.keepDialling(ctx, row) })
	}
}

// peer returns what is kept of a process, which may be new.
func (m *Mesh) peer(id coherence.Incarnation) *Peer {
	p := m.Peers[id]
	if p == nil {
		p = &Peer{}
		m.Peers[id] = p
	}
	return p
}

// forgetUnused drops a peer that has no session and is not dialled.
func (m *Mesh) forgetUnused(id coherence.Incarnation, p *Peer) {
	if len(p.Sessions) == 0 && p.stopDialling == nil {
		delete(m.Peers, id)
	}
}

// Up takes a new session into use, unless it is a lane. The machine sends the events that the peer
// has not acknowledged over it again, before anything else.
func (m *Mesh) Up(s *transport.Session) {
	if s.Peer().Lane {
		return // it asks, and no more
	}
	m.Options.Machine.Input(func(machine *coherence.Machine, now coherence.Time) {
		id := coherence.Incarnation(s.Peer().Incarnation)
		if id == m.Incarnation {
			// An earlier process at this address still has a row, and so this one has dialled itself.
			// A process is no member of its own.
			s.Close(errSelf)
			return
		}
		p := m.peer(id)
		p.Sessions = append(p.Sessions, s)
		p.pick(machine, now, id)
	})
}

// Down drops a session that has ended.
func (m *Mesh) Down(s *transport.Session, _ error) {
	if s.Peer().Lane {
		return
	}
	m.Options.Machine.Input(func(machine *coherence.Machine, now coherence.Time) {
		id := coherence.Incarnation(s.Peer().Incarnation)
		p := m.Peers[id]
		if p == nil {
			return
		}
		p.Sessions = slices.DeleteFunc(p.Sessions, func(x *transport.Session) bool { return x == s })
		p.pick(machine, now, id)
		m.forgetUnused(id, p)
	})
}

// pick picks the session to send over, and notifies the machine when it is another one than before.
func (p *Peer) pick(machine *coherence.Machine, now coherence.Time, id coherence.Incarnation) {
	var best *transport.Session
	for _, s := range p.Sessions {
		if best == nil || s.Outgoing() && !best.Outgoing() {
			best = s
		}
	}
	if best == p.Current {
		return
	}
	p.Current = best
	if best == nil {
		machine.Disconnected(id)
	} else {
		machine.Connected(now, id)
	}
}

// Send sends a message of the machine. A session that cannot take it is closed, because the next one
// begins with all that was not acknowledged. The caller holds the lock.
func (m *Mesh) Send(to coherence.Incarnation, message *coherence.Message) {
	if p := m.Peers[to]; p != nil && p.Current != nil {
		if err := p.Current.Send(FrameCoherence, message.Append(nil)); err != nil {
			p.Current.Close(err)
		}
	}
}

// SessionTo returns the session with the owner at an address, or nil. It takes the lock.
func (m *Mesh) SessionTo(address string) *transport.Session {
	m.Options.Machine.Lock()
	defer m.Options.Machine.Unlock()
	for _, p := range m.Peers {
		if p.Address == address && p.Current != nil {
			return p.Current
		}
	}
	return nil
}
