package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/transport"
)

// peers is the node as the cache sees it: the way to the owners of names.
type peers Node

var (
	errUnreachable = errors.New("node: the owner cannot be reached")
	errLongKey     = errors.New("node: for so long a key no peer is asked")
)

// Get asks an owner. It asks again for what did not fit the answer, for as long as each
// answer brings something, and in time. What it could not get is an error each.
func (p *peers) Get(ctx context.Context, address string, names []cache.VersionedKey) (results []cache.Result, err error) {
	n := (*Node)(p)
	// It runs in a goroutine of the cache, and reads what a peer has answered.
	if !n.guarded(func() { results, err = n.getFrom(ctx, address, names) }) {
		return nil, errFailed
	}
	return results, err
}

func (n *Node) getFrom(ctx context.Context, address string, names []cache.VersionedKey) ([]cache.Result, error) {
	session := n.sessionTo(address)
	if session == nil || n.breakers.open(address) {
		return nil, errUnreachable
	}
	results := make([]cache.Result, 0, len(names))
	for len(results) < len(names) {
		rest := names[len(results):]
		fits := fitting(rest)
		if fits == 0 {
			results = append(results, cache.Result{Err: errLongKey})
			continue
		}
		more, err := n.question(ctx, session, rest[:fits])
		n.breakers.note(address, err)
		if err != nil {
			for len(results) < len(names) {
				results = append(results, cache.Result{Err: err})
			}
			break
		}
		results = append(results, more...)
	}
	return results, nil
}

// question asks for names and returns what fits one answer, which is something.
func (n *Node) question(ctx context.Context, session *transport.Session, names []cache.VersionedKey) ([]cache.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	asked := now()
	body, err := session.Call(ctx, frameGet, packNames(names))
	if err != nil {
		return nil, err
	}
	results, err := unpackAnswer(body, len(names), asked)
	if err != nil {
		session.Close(transport.Violation(err))
	}
	return results, err
}

// line is a connection over which a peer is asked.
type line interface {
	CallAsync(within time.Duration, done func(body []byte, err error), kind transport.FrameKind, body ...[]byte)
	Close(err error)
}

// lineTo returns the lane to the owner at an address, or, where there is none now, the session.
func (n *Node) lineTo(address string) line {
	if lane := n.lanes.to(address); lane != nil {
		return lane
	}
	if session := n.sessionTo(address); session != nil {
		return session
	}
	return nil
}

// Fetcher asks an owner for one name in the goroutine that calls it.
func (p *peers) Fetcher(address string) func(cache.VersionedKey, func(cache.Result)) {
	n := (*Node)(p)
	to := n.lineTo(address)
	if to == nil || n.breakers.open(address) {
		return nil
	}
	return func(name cache.VersionedKey, done func(cache.Result)) {
		if fitting([]cache.VersionedKey{name}) == 0 {
			done(cache.Result{Err: errLongKey})
			return
		}
		asked := now()
		to.CallAsync(peerTimeout, func(body []byte, err error) {
			n.breakers.note(address, err)
			if err != nil {
				done(cache.Result{Err: err})
				return
			}
			results, err := unpackAnswer(body, 1, asked)
			if err != nil {
				to.Close(transport.Violation(err))
				done(cache.Result{Err: err})
				return
			}
			done(results[0])
		}, frameGet, packNames([]cache.VersionedKey{name}))
	}
}

// breakers keep a slow owner from slowing down everyone who asks it: after a question that
// it did not answer in time it is not asked for a while, which doubles up to a bound.
type breakers struct {
	mu    sync.Mutex
	pause map[string]pause
}

type pause struct {
	until time.Time
	next  time.Duration
}

const (
	firstPause   = 500 * time.Millisecond
	longestPause = 5 * time.Second
)

func (b *breakers) open(address string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.pause[address].until)
}

func (b *breakers) note(address string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		delete(b.pause, address)
		return
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		return
	}
	if b.pause == nil {
		b.pause = make(map[string]pause)
	}
	p := b.pause[address]
	if time.Now().Before(p.until) {
		return // one of many that waited together: that is one failure
	}
	p.next = min(max(2*p.next, firstPause), longestPause)
	p.until = time.Now().Add(p.next)
	b.pause[address] = p
}

// keep forgets addresses that nobody owns keys at any more.
func (b *breakers) keep(ring []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for address := range b.pause {
		if !slices.Contains(ring, address) {
			delete(b.pause, address)
		}
	}
}
