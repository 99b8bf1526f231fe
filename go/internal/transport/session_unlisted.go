package transport

import "sync/atomic"

// A session may hold a frame that has arrived in part, and megabytes of answers that the peer does
// not read. For hundreds of sessions of processes without a row in the members table that would be
// gigabytes, so their bounds are lower: before a process has its row it sends and requests little.
const (
	// unlistedFrame is the largest frame from such a process, in bytes of the body.
	unlistedFrame = 1 << 20
	// unlistedQueue is how many bytes the queue to such a process may hold in any case.
	unlistedQueue = 64 << 10
	// unlistedTotal is how many bytes the queues to all of them may hold beyond that.
	unlistedTotal = 64 << 20
)

// unlistedBytes counts what is queued for inbound sessions of processes without a row, together.
type unlistedBytes struct{ bytes atomic.Int64 }

// isUnlisted reports whether a process that has no row now opened the session.
func (s *Session) isUnlisted() bool { return !s.outgoing && !s.transport.isListed(s) }

// refusesSize reports whether a frame is too large for its sender.
func (s *Session) refusesSize(size int) bool { return size > unlistedFrame && s.isUnlisted() }

// reserve counts a frame for a process without a row, and reports whether there was room for it.
// The caller holds mu, here and below.
func (q *queue) reserve(size int) bool {
	if q.bytes+size <= unlistedQueue || q.unlisted == nil || !q.unlisted() {
		return true
	}
	if q.shared.bytes.Add(int64(size)) > unlistedTotal {
		q.shared.bytes.Add(-int64(size))
		return false
	}
	q.reserved += size
	return true
}

// subtract counts a frame of size bytes as written.
func (q *queue) subtract(size int) {
	q.count--
	q.bytes -= size
	q.release(min(size, q.reserved))
}

func (q *queue) release(size int) {
	if size > 0 {
		q.reserved -= size
		q.shared.bytes.Add(-int64(size))
	}
}

// discard closes the queue of a session that has ended: its frames are never written.
func (q *queue) discard() {
	q.close()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.release(q.reserved)
	q.frames, q.spare = nil, nil
}
