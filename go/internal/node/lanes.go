package node

import (
	"context"
	"sync"
	"time"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// lanes are the connections over which single names are asked for, one to each owner.
type lanes struct {
	mu        sync.RWMutex
	byAddress map[string]*transport.Lane
}

// to returns the lane to an owner, or nil.
func (l *lanes) to(address string) *transport.Lane {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.byAddress[address]
}

func (l *lanes) put(address string, lane *transport.Lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byAddress == nil {
		l.byAddress = make(map[string]*transport.Lane)
	}
	l.byAddress[address] = lane
}

// drop forgets a lane, unless there is another one to the address since.
func (l *lanes) drop(address string, lane *transport.Lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byAddress[address] == lane {
		delete(l.byAddress, address)
	}
}

// tick ends requests whose time is over, and reads what Python had no time for.
func (l *lanes) tick() {
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
func (n *Node) holdLane(ctx context.Context, session *transport.Session, row coherence.Row) {
	for pause := shortestDialPause; ; pause = min(2*pause, longestDialPause) {
		lane, err := n.dialLane(ctx, row)
		if err == nil {
			n.lanes.put(row.Address, lane)
			lasts := goesOn(ctx, session, lane.Done())
			n.lanes.drop(row.Address, lane)
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
func (n *Node) dialLane(ctx context.Context, row coherence.Row) (*transport.Lane, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	lane, peer, err := n.transport.DialLane(ctx, row.Address, n.watch)
	if err == nil && coherence.Incarnation(peer.Incarnation) != row.Incarnation {
		lane.Close(nil)
		return nil, errOther
	}
	return lane, err
}
