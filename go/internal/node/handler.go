package node

import (
	"context"
	"errors"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// handler is the node as the transport sees it. It runs on the sessions' own goroutines:
// acknowledgements, settlements and hits are served without Python.
type handler Node

func (h *handler) Up(s *transport.Session) {
	if s.Peer().Lane {
		return // it answers, and no more
	}
	n := (*Node)(h)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up(s)
	n.carryOut()
}

func (h *handler) Down(s *transport.Session, _ error) {
	if s.Peer().Lane {
		return
	}
	n := (*Node)(h)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down(s)
	n.carryOut()
}

func (h *handler) Message(s *transport.Session, kind transport.Kind, body []byte) {
	n := (*Node)(h)
	if s.Peer().Lane {
		s.Close(errors.New("a message over a lane, which is for requests"))
		return
	}
	switch kind {
	case frameCoherence:
		message, err := coherence.Decode(body, n.table.Buckets())
		if err != nil {
			s.Close(err)
			return
		}
		n.input(func(m *coherence.Machine, now coherence.Time) {
			if err = m.Receive(now, coherence.Incarnation(s.Peer().Incarnation), message); err == nil {
				n.heard(coherence.Incarnation(s.Peer().Incarnation), message, now)
			}
		})
		if err != nil {
			s.Close(err)
		}
	case framePut:
		p, err := unpackPut(body)
		if err != nil {
			s.Close(err)
			return
		}
		n.keep(coherence.Incarnation(s.Peer().Incarnation), p)
	default:
		s.Close(errors.New("unknown kind of frame"))
	}
}

func (h *handler) Request(s *transport.Session, kind transport.Kind, body []byte, answer func([]byte, error)) {
	n := (*Node)(h)
	switch kind {
	case frameGet:
		names, err := unpackNames(body)
		if err != nil || len(names) == 0 {
			s.Close(errors.Join(errPacked, err))
			return
		}
		n.serve(names, answer)
	case frameStats:
		answer(n.Stats())
	default:
		s.Close(errors.New("unknown kind of request"))
	}
}

// serve answers at once what is in memory; a load is waited for elsewhere, so that it holds
// up no other request of the same peer.
func (n *Node) serve(names []cache.Name, answer func([]byte, error)) {
	n.counts.served.Add(uint64(len(names)))
	if results, ok := n.group.ServeNow(names, answerBudget); ok {
		answer(packAnswer(asPeer(results), answerBudget, now()), nil)
		return
	}
	asked := n.work(func(ctx context.Context) {
		results := asPeer(n.group.Serve(ctx, names))
		answer(packAnswer(results, answerBudget, now()), nil)
	})
	if !asked {
		answer(nil, cache.ErrOverload)
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
