package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/mesh"
	"guillotina_groupcache/internal/transport"
)

var (
	errNoKeys = errors.New("node: a request for no keys")
	errFailed = errors.New("node: an error of this process")
)

// handler takes the frames of peers. It runs on the sessions' own goroutines, so acknowledgements,
// settlements and hits are served without Python. Sessions come and go in the mesh.
type handler struct {
	*mesh.Mesh
	driver  *driver
	buckets uint32
	group   *cache.Group
	tasks   *tasks
	counts  *counts
	stats   func() ([]byte, error)
	waiting atomic.Int64 // bytes of the requests that wait for loads
}

func (h *handler) Message(s *transport.Session, kind transport.FrameKind, body []byte) {
	if s.Peer().Lane {
		s.Close(transport.Violation(errors.New("a message over a lane, which is for requests")))
		return
	}
	var err error
	switch kind {
	case mesh.FrameCoherence:
		err = h.receive(coherence.Incarnation(s.Peer().Incarnation), body)
	case mesh.FramePut:
		var p put
		if p, err = unpackPut(body); err == nil {
			h.keep(coherence.Incarnation(s.Peer().Incarnation), p)
		}
	default:
		err = fmt.Errorf("a message of unknown kind %d", kind)
	}
	if err != nil {
		s.Close(transport.Violation(err))
	}
}

func (h *handler) Request(s *transport.Session, kind transport.FrameKind, body []byte, answer func([]byte, error)) {
	switch kind {
	case mesh.FrameGet:
		keys, err := unpackKeys(body)
		if err != nil || len(keys) == 0 {
			s.Close(transport.Violation(cmp.Or(err, errNoKeys)))
			return
		}
		h.serve(keys, len(body), answer)
	case mesh.FrameStats:
		answer(h.stats())
	default:
		s.Close(transport.Violation(fmt.Errorf("a request of unknown kind %d", kind)))
	}
}

// receive hands a message to the machine, and remembers when the events that it announces were first
// announced here.
func (h *handler) receive(from coherence.Incarnation, body []byte) error {
	message, err := coherence.Decode(body, h.buckets)
	if err != nil {
		return err
	}
	h.driver.Input(func(m *coherence.Machine, now coherence.Time) {
		if err = m.Receive(now, from, message); err == nil {
			h.remember(from, message, now)
		}
	})
	return err
}

// remember remembers when a peer announced its own events. The caller holds the lock.
func (h *handler) remember(writer coherence.Incarnation, message *coherence.Message, at coherence.Time) {
	peer := h.Peers[writer]
	if peer == nil || message.Kind != coherence.Events {
		return
	}
	for _, entry := range message.Entries {
		if id := entry.Event.ID; !entry.Settled && id.Writer == writer {
			peer.Announced.Add(id.Sequence, at)
		}
	}
}

// keep stores a pushed value of a key that this process owns. How long the value was on its way is
// not known, and a process that was stopped may find it in its socket hours later. But its event was
// announced here before the database held the value (R3), so its life is counted from then. A value
// of an event that is not remembered is not kept: it is loaded when it is read.
func (h *handler) keep(writer coherence.Incarnation, p put) {
	h.driver.Lock()
	var announced coherence.Time
	known := false
	if peer := h.Peers[writer]; peer != nil {
		announced, known = peer.Announced.Of(p.event)
	}
	h.driver.Unlock()
	if !known {
		return
	}
	if expires, ok := expiryOf(p.life, announced); ok {
		h.group.AsOwner.Keep(p.key, p.value, int64(announced), expires)
	}
}

// serve answers at once what is in memory. It waits for loads on another goroutine, so that they delay
// no other request of the same peer. The request has size bytes.
func (h *handler) serve(keys []cache.VersionedKey, size int, answer func([]byte, error)) {
	h.counts.served.Add(uint64(len(keys)))
	if results, ok := h.group.AsOwner.ServeNow(keys, answerBudget); ok {
		answer(packAnswer(asPeer(results), answerBudget, now()), nil)
		return
	}
	if h.waiting.Add(int64(size)) > maxWaiting {
		h.waiting.Add(-int64(size))
		answer(nil, transport.ErrOverload)
		return
	}
	started := h.tasks.run(func(ctx context.Context) {
		defer h.waiting.Add(-int64(size))
		defer answer(nil, errFailed) // after a panic; a second answer is ignored
		results := asPeer(h.group.AsOwner.Serve(ctx, keys, answerBudget))
		answer(packAnswer(results, answerBudget, now()), nil)
	})
	if !started {
		h.waiting.Add(-int64(size))
		answer(nil, transport.ErrOverload)
	}
}

// asPeer gives values that the owner had in memory the source that they have for the requester.
func asPeer(results []cache.Result) []cache.Result {
	for i := range results {
		if results[i].Source == cache.Own {
			results[i].Source = cache.Peer
		}
	}
	return results
}
