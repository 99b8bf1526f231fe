package mesh

import (
	"context"
	"sync"
	"time"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// Lanes are the connections over which single keys are requested, one to each owner.
type Lanes struct {
	mu        sync.RWMutex
	byAddress map[string]*transport.Lane
}

// To returns the lane to an owner, or nil.
func (l *Lanes) To(address string) *transport.Lane {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.byAddress[address]
}

func (l *Lanes) put(address string, lane *transport.Lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byAddress == nil {
		l.byAddress = make(map[string]*transport.Lane)
	}
	l.byAddress[address] = lane
}

// drop forgets a lane, unless there is another one to the address since.
func (l *Lanes) drop(address string, lane *transport.Lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byAddress[address] == lane {
		delete(l.byAddress, address)
	}
}

// tick ends requests whose time is over, and reads what Python had no time for.
func (l *Lanes) tick() {
	l.mu.RLock()
	all := make([]*transport.Lane, 0, len(l.byAddress))
	for _, lane := range l.byAddress {
		all = append(all, lane)
	}
	l.mu.RUnlock()
	for _, lane := range all {
		lane.Tick()
	}
}

// holdLane has a lane beside a session for as long as that lasts, or until ctx ends. Without
// one the session is asked, which is only slower, so a failure is no news.
func (m *Mesh) holdLane(ctx context.Context, session *transport.Session, row coherence.Row) {
	for pause := shortestDialPause; ; pause = min(2*pause, longestDialPause) {
		lane, err := m.dialLane(ctx, row)
		if err == nil {
			m.Lanes.put(row.Address, lane)
			lasts := goesOn(ctx, session, lane.Done())
			m.Lanes.drop(row.Address, lane)
			lane.Close(nil)
			if !lasts {
				return
			}
		}
		if !goesOn(ctx, session, time.After(pause)) {
			return
		}
	}
}

// goesOn waits for event, and is false where the session or ctx ends before.
func goesOn[T any](ctx context.Context, session *transport.Session, event <-chan T) bool {
	select {
	case <-event:
		return true
	case <-session.Done():
	case <-ctx.Done():
	}
	return false
}

// dialLane opens a lane to a member; errOther when another process answers at its address.
func (m *Mesh) dialLane(ctx context.Context, row coherence.Row) (*transport.Lane, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	lane, peer, err := m.Transport.DialLane(ctx, row.Address, m.Options.Watch)
	if err == nil && coherence.Incarnation(peer.Incarnation) != row.Incarnation {
		lane.Close(nil)
		return nil, errOther
	}
	return lane, err
}
