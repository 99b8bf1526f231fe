package transport

import "sync/atomic"

// A session may hold a frame that has not come whole, and megabytes of answers that the peer does not
// read. Hundreds of sessions of processes that have no row would be gigabytes, so these have less:
// they have nothing to say, and little to ask, before they have their row.
const (
	// strangerFrame is the largest frame of one, in bytes of the body.
	strangerFrame = 1 << 20
	// strangerQueue is how much one may leave unread in any case, in bytes.
	strangerQueue = 64 << 10
	// strangersQueue is how much all of them may leave unread beyond that.
	strangersQueue = 64 << 20
)

// strangers is what inbound sessions of processes without a row have not read, together.
type strangers struct{ bytes atomic.Int64 }

// isStranger tells whether a session has been opened by a process that has no row now.
func (s *Session) isStranger() bool { return !s.outgoing && !s.owner.isListed(s) }

// refuses tells whether a frame is too large for who sends it.
func (s *Session) refuses(size int) bool { return size > strangerFrame && s.isStranger() }

// hold counts a frame of a stranger, and is false where there is no room for it. The caller holds
// mu, here and below.
func (q *queue) hold(size int) bool {
	if q.bytes+size <= strangerQueue || q.isStranger == nil || !q.isStranger() {
		return true
	}
	if q.strangers.bytes.Add(int64(size)) > strangersQueue {
		q.strangers.bytes.Add(-int64(size))
		return false
	}
	q.held += size
	return true
}

// gone is for a frame of size bytes that is written.
func (q *queue) gone(size int) {
	q.count--
	q.bytes -= size
	q.release(min(size, q.held))
}

func (q *queue) release(size int) {
	if size > 0 {
		q.held -= size
		q.strangers.bytes.Add(-int64(size))
	}
}

// drop closes the queue of a session that has ended: nothing of it is read any more.
func (q *queue) drop() {
	q.close()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.release(q.held)
	q.frames, q.spare = nil, nil
}
