package transport

import "sync"

// queue holds the encoded frames of a session that are not yet written, bounded in bytes
// and number. Any goroutine puts; only the session's writer takes.
type queue struct {
	maxFrames int
	maxBytes  int
	wake      chan struct{} // receives after a put or close, capacity 1

	mu     sync.Mutex
	frames [][]byte // in order, not yet taken
	spare  [][]byte // the slice of the last batch, to be used again
	count  int      // frames not yet written, those taken included
	bytes  int      // their size
	closed bool     // no more puts
}

func newQueue(l Limits) *queue {
	return &queue{maxFrames: l.QueueFrames, maxBytes: l.QueueBytes, wake: make(chan struct{}, 1)}
}

// put appends a frame, which belongs to the queue from then on.
func (q *queue) put(frame []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	if q.count+1 > q.maxFrames || q.bytes+len(frame) > q.maxBytes {
		return ErrOverload
	}
	q.frames = append(q.frames, frame)
	q.count++
	q.bytes += len(frame)
	q.rouse()
	return nil
}

// take returns all frames that wait, and whether more may come. The batch is valid until
// the next take.
func (q *queue) take() (batch [][]byte, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.spare)
	batch = q.frames
	q.frames = q.spare[:0]
	q.spare = batch
	return batch, !q.closed
}

// written makes room for what a frame of size bytes took.
func (q *queue) written(size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count--
	q.bytes -= size
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
