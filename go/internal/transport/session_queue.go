package transport

import "sync"

// directSize is the largest frame, in bytes, that its sender writes itself: a socket usually takes
// as much at once.
const directSize = 64 << 10

// queue holds the encoded frames of a session that are not yet written, bounded in bytes and in
// number. It also decides who writes, one at a time: the sender of a frame if nobody else writes
// and nothing is queued, else the session's writer.
type queue struct {
	maxFrames int
	maxBytes  int
	wake      chan struct{} // receives when there is something for the writer, capacity 1

	mu      sync.Mutex
	state   writeState
	partial bool     // the socket did not take all of what a sender wrote
	frames  [][]byte // in order, not yet taken
	spare   [][]byte // the slice of the last batch, reused
	count   int      // frames not yet written, those taken included
	bytes   int      // their size
	closed  bool     // no more puts

	unlisted func() bool    // reports whether the peer has no row; nil: it has one
	shared   *unlistedBytes // what all such peers together have queued
	reserved int            // how much of it this queue has
}

// writeState is who writes now.
type writeState uint8

const (
	nobodyWrites writeState = iota
	senderWrites
	writerWrites
)

func newQueue(l Limits) *queue {
	return &queue{maxFrames: l.QueueFrames, maxBytes: l.QueueBytes, wake: make(chan struct{}, 1)}
}

// put takes a frame, which then belongs to the queue. canWrite says that the caller can write it
// itself. If the result direct is true the caller must do so, and then call [queue.writtenDirect].
func (q *queue) put(frame []byte, canWrite bool) (direct bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false, ErrClosed
	}
	if q.count+1 > q.maxFrames || q.bytes+len(frame) > q.maxBytes || !q.reserve(len(frame)) {
		return false, ErrOverload
	}
	q.count++
	q.bytes += len(frame)
	if canWrite && q.state == nobodyWrites && len(q.frames) == 0 && len(frame) <= directSize {
		q.state = senderWrites
		return true, nil
	}
	q.frames = append(q.frames, frame)
	if q.state == nobodyWrites {
		q.wakeWriter()
	}
	return false, nil
}

// writtenDirect ends a sender's writing of a frame of size bytes. partial says that the socket has
// not taken all of it, so that the writer has to wait for the socket.
func (q *queue) writtenDirect(size int, partial bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.subtract(size)
	q.state, q.partial = nobodyWrites, partial
	if partial {
		q.state = writerWrites // nothing may be written before the rest of that frame
	}
	if partial || len(q.frames) > 0 || q.closed {
		q.wakeWriter()
	}
}

// take gives the writer all queued frames. Without any there is still work if a frame was written
// in part. Once take has returned that there is no work, senders may write. The batch is valid
// until the next take.
func (q *queue) take() (batch [][]byte, work, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state == senderWrites {
		return nil, false, true
	}
	clear(q.spare)
	batch = q.frames
	q.frames = q.spare[:0]
	q.spare = batch
	work = q.partial || len(batch) > 0
	q.state, q.partial = nobodyWrites, false
	if work {
		q.state = writerWrites
	}
	return batch, work, !q.closed
}

// written makes room after the writer has written a frame of size bytes.
func (q *queue) written(size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.subtract(size)
}

// close refuses further puts. What is queued can still be taken.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wakeWriter()
}

func (q *queue) wakeWriter() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
