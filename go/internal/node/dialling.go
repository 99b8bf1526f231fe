package node

import (
	"context"
	"errors"
	"time"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

const (
	// dialTimeout and the pauses bound how long a connection that can be made again is missed:
	// after a partition everybody is to be in standing within three seconds.
	dialTimeout       = time.Second
	shortestDialPause = 20 * time.Millisecond
	longestDialPause  = 500 * time.Millisecond
	// unreachableAfter is for how long a member that cannot be reached is no news.
	unreachableAfter = 3 * time.Second
)

var errOther = errors.New("another process answers there")

// keepDialling holds a session to a member for as long as it is listed, and says once when it
// cannot.
func (n *Node) keepDialling(ctx context.Context, row coherence.Row) {
	if !n.mayReach(row) {
		n.log("warning", unreachable(row, "the address is one of another host or container"))
		return
	}
	pause, failing, warned := shortestDialPause, time.Now(), false
	for ctx.Err() == nil {
		session, err := n.dial(ctx, row)
		if err == nil {
			if warned {
				n.log("info", "reaches "+row.Address+" again")
			}
			began := time.Now()
			n.holdLane(ctx, session, row)
			if ctx.Err() != nil {
				session.Close(nil)
			}
			if time.Since(began) > longestDialPause { // else it is one that does not want a session
				pause, failing, warned = shortestDialPause, time.Now(), false
				continue
			}
		}
		// Another one that listens where the member was does not refuse in its name.
		var refusal *transport.RefusalError
		if errors.As(err, &refusal) && coherence.Incarnation(refusal.By) == row.Incarnation {
			n.inputGuarded(func(m *coherence.Machine, now coherence.Time) { m.Refused(now, row.Incarnation) })
		}
		if n.provesEnd(row) {
			n.inputGuarded(func(m *coherence.Machine, now coherence.Time) { m.Ended(now, row.Incarnation) })
		} else if err != nil && !warned && time.Since(failing) > unreachableAfter {
			warned = true
			n.log("warning", unreachable(row, err.Error()))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, longestDialPause)
	}
}

// dial opens a session to a member; errOther when another process answers at its address.
func (n *Node) dial(ctx context.Context, row coherence.Row) (*transport.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	session, err := n.transport.Dial(ctx, row.Address)
	if err == nil && coherence.Incarnation(session.Peer().Incarnation) != row.Incarnation {
		session.Close(nil)
		return nil, errOther
	}
	return session, err
}
