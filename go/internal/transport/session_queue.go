package transport

import "sync"

// directSize is the largest frame, in bytes, that its sender writes itself: so much a socket
// takes at once as a rule.
const directSize = 64 << 10

// queue holds the encoded frames of a session that are not yet written, bounded in bytes
// and number, and settles who writes: one at a time, the sender of a frame when nobody else
// does and nothing waits, else the session's writer.
type queue struct {
	maxFrames int
	maxBytes  int
	wake      chan struct{} // receives when there is something for the writer, capacity 1

	mu     sync.Mutex
	who    role
	stuck  bool     // the socket did not take all of what a sender wrote
	frames [][]byte // in order, not yet taken
	spare  [][]byte // the slice of the last batch, to be used again
	count  int      // frames not yet written, those taken included
	bytes  int      // their size
	closed bool     // no more puts

	strangers  *strangers
	isStranger func() bool // nil: the peer is none
	held       int         // bytes that are counted in strangers
}

// role is who writes now.
type role uint8

const (
	nobody role = iota
	aSender
	theWriter
)

func newQueue(l Limits) *queue {
	return &queue{maxFrames: l.QueueFrames, maxBytes: l.QueueBytes, wake: make(chan struct{}, 1)}
}

// put takes a frame, which belongs to the queue from then on. With direct the caller is
// ready to write it: if it is to, now is true, and the caller ends that with [queue.wrote].
func (q *queue) put(frame []byte, direct bool) (now bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false, ErrClosed
	}
	if q.count+1 > q.maxFrames || q.bytes+len(frame) > q.maxBytes || !q.hold(len(frame)) {
		return false, ErrOverload
	}
	q.count++
	q.bytes += len(frame)
	if direct && q.who == nobody && len(q.frames) == 0 && len(frame) <= directSize {
		q.who = aSender
		return true, nil
	}
	q.frames = append(q.frames, frame)
	if q.who == nobody {
		q.rouse()
	}
	return false, nil
}

// wrote ends a sender's writing of a frame of size bytes; stuck tells that the socket has not
// taken all of it, so that the writer has to wait for it.
func (q *queue) wrote(size int, stuck bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gone(size)
	q.who, q.stuck = nobody, stuck
	if stuck {
		q.who = theWriter // nothing may be written before what is stuck
	}
	if stuck || len(q.frames) > 0 || q.closed {
		q.rouse()
	}
}

// take gives the writer all frames that wait. Without any there is still work to do when
// something is stuck. Once it is told that there is none, others may write. The batch is
// valid until the next take.
func (q *queue) take() (batch [][]byte, work, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.who == aSender {
		return nil, false, true
	}
	clear(q.spare)
	batch = q.frames
	q.frames = q.spare[:0]
	q.spare = batch
	work = q.stuck || len(batch) > 0
	q.who, q.stuck = nobody, false
	if work {
		q.who = theWriter
	}
	return batch, work, !q.closed
}

// written makes room for what a frame of size bytes took.
func (q *queue) written(size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gone(size)
}

// close refuses further puts. What is queued can still be taken.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.rouse()
}

func (q *queue) rouse() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
