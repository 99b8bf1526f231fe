package node

import (
	"context"
	"errors"
	"time"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/mesh"
	"guillotina_groupcache/internal/transport"
)

// peers is the cache's way to the owners of keys; see [cache.Peers].
type peers struct {
	mesh  *mesh.Mesh
	guard *guard
}

var (
	errUnreachable = errors.New("node: the owner cannot be reached")
	errLongKey     = errors.New("node: the key is too long for a request to a peer")
)

// Get requests keys from an owner. It requests again those that did not fit the answer, for as long as
// each answer brings some. A key that it could not get has an error as its result.
func (p *peers) Get(ctx context.Context, address string, keys []cache.VersionedKey) (results []cache.Result, err error) {
	// It runs in a goroutine of the cache, and reads what a peer has answered.
	if !p.guard.run(func() { results, err = p.getAll(ctx, address, keys) }) {
		return nil, errFailed
	}
	return results, err
}

func (p *peers) getAll(ctx context.Context, address string, keys []cache.VersionedKey) ([]cache.Result, error) {
	session := p.mesh.SessionTo(address)
	if session == nil || p.mesh.Breakers.Open(address) {
		return nil, errUnreachable
	}
	results := make([]cache.Result, 0, len(keys))
	for len(results) < len(keys) {
		rest := keys[len(results):]
		fits := fitting(rest)
		if fits == 0 {
			results = append(results, cache.Result{Err: errLongKey})
			continue
		}
		more, err := request(ctx, session, rest[:fits])
		p.mesh.Breakers.Record(address, err)
		if err != nil {
			for len(results) < len(keys) {
				results = append(results, cache.Result{Err: err})
			}
			break
		}
		results = append(results, more...)
	}
	return results, nil
}

// request requests keys and returns the results that fit one answer: at least one.
func request(ctx context.Context, session *transport.Session, keys []cache.VersionedKey) ([]cache.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	asked := now()
	body, err := session.Call(ctx, mesh.FrameGet, packKeys(keys))
	if err != nil {
		return nil, err
	}
	results, err := unpackAnswer(body, len(keys), asked)
	if err != nil {
		session.Close(transport.Violation(err))
	}
	return results, err
}

// caller is a session or a lane.
type caller interface {
	CallAsync(within time.Duration, done func(body []byte, err error), kind transport.FrameKind, body ...[]byte)
	Close(err error)
}

// callerTo returns the lane to the owner at an address, or, where there is none now, the session.
func (p *peers) callerTo(address string) caller {
	if lane := p.mesh.Lanes.To(address); lane != nil {
		return lane
	}
	if session := p.mesh.SessionTo(address); session != nil {
		return session
	}
	return nil
}

// Fetcher returns a function that requests one key from an owner without waiting for the answer; nil
// when the owner is not to be asked now.
func (p *peers) Fetcher(address string) func(cache.VersionedKey, func(cache.Result)) {
	to := p.callerTo(address)
	if to == nil || p.mesh.Breakers.Open(address) {
		return nil
	}
	return func(key cache.VersionedKey, done func(cache.Result)) {
		if fitting([]cache.VersionedKey{key}) == 0 {
			done(cache.Result{Err: errLongKey})
			return
		}
		asked := now()
		to.CallAsync(peerTimeout, func(body []byte, err error) {
			p.mesh.Breakers.Record(address, err)
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
		}, mesh.FrameGet, packKeys([]cache.VersionedKey{key}))
	}
}

// Put sends a pushed value to its owner. One that cannot be sent now is dropped: the owner loads it
// when it is read.
func (p *peers) Put(address string, event uint64, key cache.VersionedKey, value []byte, expires int64) {
	life := lifeOf(expires, now())
	if session := p.mesh.SessionTo(address); session != nil && life > 0 && len(key.Key) <= maxKey {
		_ = session.Send(mesh.FramePut, packPut(put{event: event, life: life, key: key}), value)
	}
}
