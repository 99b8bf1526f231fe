package transport

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Transport is one process's end of all its connections.
type Transport struct {
	identity *Identity
	listen   []string
	self     Peer // its Address is complete after Bind
	admit    func(Peer) error
	listed   func(incarnation uint64) bool // nil: every process is
	security *security                     // nil: no TLS, over unix sockets only
	handler  Handler
	limits   Limits
	faults   *faults
	counters counters

	pending        pending
	unlistedQueued unlistedBytes
	blocking       atomic.Int64 // lanes of peers that have a thread each

	life  context.Context // ends with Close: aborts dials and handshakes
	stop  context.CancelFunc
	group sync.WaitGroup // all goroutines, and calls of Dial

	mu        sync.Mutex
	closed    bool
	listener  net.Listener // nil before Bind
	accepting bool         // after Listen
	sessions  map[*Session]struct{}
	inbound   []*Session // those of sessions that peers have opened, oldest first
	lanes     map[*Lane]struct{}
}

// counters are the fields of Stats that only grow.
type counters struct {
	dialled, accepted, overloads           atomic.Uint64
	framesIn, framesOut, bytesIn, bytesOut atomic.Uint64
}

// Stats counts what a Transport has done since New and describes its present state.
type Stats struct {
	Sessions          int               `json:"sessions"`           // now, lanes included
	PendingHandshakes int               `json:"pending_handshakes"` // inbound connections in handshake now
	Dialled           uint64            `json:"dialled"`            // sessions that this side opened
	Accepted          uint64            `json:"accepted"`           // sessions that peers opened
	FramesIn          uint64            `json:"frames_in"`
	FramesOut         uint64            `json:"frames_out"`
	BytesIn           uint64            `json:"bytes_in"` // of frames, before TLS
	BytesOut          uint64            `json:"bytes_out"`
	Overloads         uint64            `json:"overloads"` // frames refused by a full queue
	Faults            map[Reason]uint64 `json:"faults"`    // connections refused and sessions ended, by reason
}

// New checks the options and returns a Transport that does nothing yet. The caller must end it
// with Close.
func New(o Options) (*Transport, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	limits, err := o.Limits.withDefaults()
	if err != nil {
		return nil, err
	}
	limits = limits.withDescriptors()
	security, err := newSecurity(&o)
	if err != nil {
		return nil, err
	}
	self := o.Self
	self.Incarnation = o.Identity.Incarnation()
	life, stop := context.WithCancel(context.Background())
	return &Transport{
		identity: o.Identity, listen: o.Listen, self: self, admit: o.Admit, listed: o.Listed, security: security,
		handler: o.Handler, limits: limits, faults: newFaults(o.Log), pending: newPending(limits.PendingHandshakes),
		life: life, stop: stop, sessions: map[*Session]struct{}{}, lanes: map[*Lane]struct{}{},
	}, nil
}

// Stats returns the statistics.
func (t *Transport) Stats() Stats {
	t.mu.Lock()
	sessions := len(t.sessions) + len(t.lanes)
	t.mu.Unlock()
	c := &t.counters
	return Stats{
		Sessions: sessions, PendingHandshakes: t.pending.len(),
		Dialled: c.dialled.Load(), Accepted: c.accepted.Load(),
		FramesIn: c.framesIn.Load(), FramesOut: c.framesOut.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		Overloads: c.overloads.Load(), Faults: t.faults.snapshot(),
	}
}

// Close ends the listener and all sessions, as Session.Close(nil) does, and waits for all
// goroutines, but for a handler that does not return no longer than twice Limits.DrainTimeout. It
// must not be called from the Handler.
func (t *Transport) Close() {
	t.mu.Lock()
	t.closed = true
	listener := t.listener
	t.listener = nil
	sessions, lanes := t.sessions, t.lanes
	t.sessions, t.lanes, t.inbound = map[*Session]struct{}{}, map[*Lane]struct{}{}, nil
	t.mu.Unlock()

	t.stop()
	if listener != nil {
		_ = listener.Close() // there is nothing to do about an error here
	}
	for l := range lanes {
		l.Close(nil)
	}
	for s := range sessions {
		s.Close(nil)
	}
	done := make(chan struct{})
	go func() {
		t.group.Wait()
		close(done)
	}()
	late := time.NewTimer(2 * t.limits.DrainTimeout)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
		t.faults.writeLog("error", "closed without waiting any longer for a handler that does not return")
	}
}

// enter counts the calling goroutine into the group that Close waits for, and reports whether it
// may go on: after Close it may not.
func (t *Transport) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.group.Add(1)
	}
	return !t.closed
}

// start registers a session and starts its two goroutines.
func (t *Transport) start(s *Session) error {
	if err := t.register(s); err != nil {
		_ = s.raw.Close()
		return err
	}
	if s.outgoing {
		t.counters.dialled.Add(1)
	} else {
		t.counters.accepted.Add(1)
	}
	s.up()
	go s.read()
	go s.write()
	return nil
}
