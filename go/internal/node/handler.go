package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

var (
	errNoNames = errors.New("node: a request for no names")
	errFailed  = errors.New("node: it could not be done, because of an error of this process")
)

// handler is the node as the transport sees it. It runs on the sessions' own goroutines:
// acknowledgements, settlements and hits are served without Python.
type handler Node

func (h *handler) Up(s *transport.Session) {
	if s.Peer().Lane {
		return // it answers, and no more
	}
	n := (*Node)(h)
	n.locked(func() { n.up(s) })
}

func (h *handler) Down(s *transport.Session, _ error) {
	if s.Peer().Lane {
		return
	}
	n := (*Node)(h)
	n.locked(func() { n.down(s) })
}

func (h *handler) Message(s *transport.Session, kind transport.FrameKind, body []byte) {
	n := (*Node)(h)
	if s.Peer().Lane {
		s.Close(transport.Violation(errors.New("a message over a lane, which is for requests")))
		return
	}
	switch kind {
	case frameCoherence:
		message, err := coherence.Decode(body, n.table.Buckets())
		if err != nil {
			s.Close(transport.Violation(err))
			return
		}
		n.input(func(m *coherence.Machine, now coherence.Time) {
			if err = m.Receive(now, coherence.Incarnation(s.Peer().Incarnation), message); err == nil {
				n.heard(coherence.Incarnation(s.Peer().Incarnation), message, now)
			}
		})
		if err != nil {
			s.Close(transport.Violation(err))
		}
	case framePut:
		p, err := unpackPut(body)
		if err != nil {
			s.Close(transport.Violation(err))
			return
		}
		n.keep(coherence.Incarnation(s.Peer().Incarnation), p)
	default:
		s.Close(transport.Violation(fmt.Errorf("a message of unknown kind %d", kind)))
	}
}

func (h *handler) Request(s *transport.Session, kind transport.FrameKind, body []byte, answer func([]byte, error)) {
	n := (*Node)(h)
	switch kind {
	case frameGet:
		names, err := unpackNames(body)
		if err != nil || len(names) == 0 {
			s.Close(transport.Violation(cmp.Or(err, errNoNames)))
			return
		}
		n.serve(names, len(body), answer)
	case frameStats:
		answer(n.Stats())
	default:
		s.Close(transport.Violation(fmt.Errorf("a request of unknown kind %d", kind)))
	}
}

// serve answers at once what is in memory; a load is waited for elsewhere, so that it holds
// up no other request of the same peer. The names take size bytes.
func (n *Node) serve(names []cache.VersionedKey, size int, answer func([]byte, error)) {
	n.counts.served.Add(uint64(len(names)))
	if results, ok := n.group.AsOwner.ServeNow(names, answerBudget); ok {
		answer(packAnswer(asPeer(results), answerBudget, now()), nil)
		return
	}
	if n.serving.Add(int64(size)) > maxServing {
		n.serving.Add(-int64(size))
		answer(nil, transport.ErrOverload)
		return
	}
	asked := n.work(func(ctx context.Context) {
		defer n.serving.Add(-int64(size))
		defer answer(nil, errFailed) // after a panic; a second answer is none
		results := asPeer(n.group.AsOwner.Serve(ctx, names, answerBudget))
		answer(packAnswer(results, answerBudget, now()), nil)
	})
	if !asked {
		n.serving.Add(-int64(size))
		answer(nil, transport.ErrOverload)
	}
}

// asPeer says of what the owner had in memory that the asker got it from a peer.
func asPeer(results []cache.Result) []cache.Result {
	for i := range results {
		if results[i].Source == cache.Own {
			results[i].Source = cache.Peer
		}
	}
	return results
}
