package mesh

import (
	"context"
	"errors"
	"time"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

const (
	// dialTimeout and the pauses bound how long a possible connection is missing: after a partition
	// all processes are to serve again within three seconds.
	dialTimeout       = time.Second
	shortestDialPause = 20 * time.Millisecond
	longestDialPause  = 500 * time.Millisecond
	// warnUnreachableAfter is how long a member is dialled in vain before the log says so.
	warnUnreachableAfter = 3 * time.Second
)

var errOther = errors.New("another process answers there")

// dialling is the state of dialling one member.
type dialling struct {
	row    coherence.Row
	pause  time.Duration // before the next attempt
	since  time.Time     // of the first attempt without a lasting session
	warned bool
}

func (d *dialling) reset() { d.pause, d.since, d.warned = shortestDialPause, time.Now(), false }

// keepDialling holds a session to a member until ctx ends, and logs once when it cannot.
func (m *Mesh) keepDialling(ctx context.Context, row coherence.Row) {
	if !m.mayReach(row) {
		m.Options.Transport.Log("warning", unreachable(row, "the address is one of another host or container"))
		return
	}
	d := &dialling{row: row}
	d.reset()
	for ctx.Err() == nil {
		session, err := m.dial(ctx, row)
		if err == nil {
			if d.warned {
				m.Options.Transport.Log("info", "reaches "+row.Address+" again")
			}
			began := time.Now()
			m.holdLane(ctx, session, row)
			if ctx.Err() != nil {
				session.Close(nil)
			}
			if time.Since(began) > longestDialPause { // a shorter session is one that the peer does not want
				d.reset()
				continue
			}
		}
		m.dialFailed(d, err)
		select {
		case <-time.After(d.pause):
		case <-ctx.Done():
		}
		d.pause = min(2*d.pause, longestDialPause)
	}
}

// dialFailed reports to the machine, and to the log, what an attempt without a lasting session has shown;
// err is nil when there was a short session.
func (m *Mesh) dialFailed(d *dialling, err error) {
	id := d.row.Incarnation
	// Only a refusal by the member itself counts, not one by another process at its address.
	var refusal *transport.RefusalError
	if errors.As(err, &refusal) && coherence.Incarnation(refusal.By) == id {
		m.Options.Machine.InputGuarded(func(machine *coherence.Machine, now coherence.Time) { machine.Refused(now, id) })
	}
	if m.provesEnd(d.row) {
		m.Options.Machine.InputGuarded(func(machine *coherence.Machine, now coherence.Time) { machine.Ended(now, id) })
	} else if err != nil && !d.warned && time.Since(d.since) > warnUnreachableAfter {
		d.warned = true
		m.Options.Transport.Log("warning", unreachable(d.row, err.Error()))
	}
}

// dial opens a session to a member; errOther when another process answers at its address.
func (m *Mesh) dial(ctx context.Context, row coherence.Row) (*transport.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	session, err := m.Transport.Dial(ctx, row.Address)
	if err == nil && coherence.Incarnation(session.Peer().Incarnation) != row.Incarnation {
		session.Close(nil)
		return nil, errOther
	}
	return session, err
}
