package bridge

import (
	"encoding/binary"
	"fmt"
	"sync"
	"syscall"

	"guillotina_groupcache/internal/cache"
)

// CompletionKind says what a completion is about.
type CompletionKind uint8

const (
	// Values answers a read: for each key a source and the value.
	Values CompletionKind = iota + 1
	// Load asks to load keys from the database.
	Load
	// Cleared says that all members have acknowledged an event: COMMIT may be sent.
	Cleared
	// DatabaseQuery asks about the members table, or about open transactions.
	DatabaseQuery
	// PeerStats answers a request for the peers' statistics.
	PeerStats
	// Log is a line for the operator's log.
	Log
	// CompletionKinds is one more than the last kind.
	CompletionKinds
)

// String returns the kind as Python spells it.
func (k CompletionKind) String() string {
	return [CompletionKinds]string{"none", "values", "load", "cleared", "database_query", "peer_stats", "log"}[k]
}

// headerSize is the length of a completion before its payload: length of the whole (4 bytes),
// kind (1), padding (3), id (8); little endian.
const headerSize = 16

// maxBytes bounds the completions that wait while Python does not drain them.
const maxBytes = 256 << 20

// Queue holds completions in order until Python drains them. It is safe for concurrent use.
type Queue struct {
	// Watch watches the queue's pipe and the lanes: its descriptor is readable while Drain has something to give.
	Watch *Watch

	mu       sync.Mutex
	entries  [][]byte
	bytes    int
	deferred [][]byte // completions that Python waits for, and that the full queue refused
	pipe     [2]int
	signaled bool // there is a byte in the pipe
	draining bool // Python is about to drain, and needs no byte
	closed   bool
}

// NewQueue returns an empty queue.
func NewQueue() (*Queue, error) {
	watch, err := NewWatch()
	if err != nil {
		return nil, err
	}
	q := &Queue{Watch: watch}
	if err := syscall.Pipe2(q.pipe[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		watch.Close()
		return nil, fmt.Errorf("bridge: %w", err)
	}
	if _, err := watch.Add(q.pipe[0], func() {}); err != nil {
		q.Close()
		return nil, err
	}
	return q, nil
}

// Put adds a completion. It is false when the queue is full or closed: the caller then drops the
// work, or answers it in another way.
func (q *Queue) Put(kind CompletionKind, id uint64, payload ...[]byte) bool {
	entry := encode(kind, id, payload)
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.add(entry)
}

// Deliver adds a completion that Python waits for. A full queue defers it, because nothing else
// would ever answer: a read would hang, and a transaction could not commit. It should be small:
// deferred completions are bounded only by the requests of Python that have no answer yet.
func (q *Queue) Deliver(kind CompletionKind, id uint64, payload []byte) {
	entry := encode(kind, id, [][]byte{payload})
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.deferred) > 0 || !q.add(entry) {
		q.deferred = append(q.deferred, entry)
	}
}

// FlushDeferred adds the deferred completions for which there is room now, in order.
func (q *Queue) FlushDeferred() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.deferred) > 0 && q.add(q.deferred[0]) {
		q.deferred = q.deferred[1:]
	}
}

// Log hands a line to Python's logger; level is a name of Python's logging.
func (q *Queue) Log(level, text string) {
	q.Put(Log, 0, []byte(level), []byte{0}, []byte(text))
}

// DeliverResults answers a read with results in the order of its keys.
func (q *Queue) DeliverResults(request uint64, results []cache.Result) {
	if !q.Put(Values, request, PackResults(results)) {
		// Without the values there is room, now or soon; Python then reads the database.
		q.Deliver(Values, request, PackResults(make([]cache.Result, len(results))))
	}
}

// encode returns a completion as Python reads it.
func encode(kind CompletionKind, id uint64, payload [][]byte) []byte {
	size := headerSize
	for _, part := range payload {
		size += len(part)
	}
	entry := make([]byte, headerSize, size)
	binary.LittleEndian.PutUint32(entry, uint32(size))
	entry[4] = byte(kind)
	binary.LittleEndian.PutUint64(entry[8:], id)
	for _, part := range payload {
		entry = append(entry, part...)
	}
	return entry
}

// add adds an encoded completion if there is room. The caller holds mu.
func (q *Queue) add(entry []byte) bool {
	if q.closed || q.bytes+len(entry) > maxBytes {
		return false
	}
	q.entries = append(q.entries, entry)
	q.bytes += len(entry)
	if !q.draining {
		q.signal()
	}
	return true
}

func (q *Queue) signal() {
	if !q.signaled {
		q.signaled = true
		_, _ = syscall.Write(q.pipe[1], []byte{1}) // an empty pipe takes a byte
	}
}

// Drain reads what the lanes have brought and then moves as many whole completions as fit into buf,
// in order. It returns their bytes, or, when not even the first one fits, the bytes that this one
// needs, negative. A completion that is added while it reads the lanes wakes no event loop.
func (q *Queue) Drain(buf []byte) int {
	q.mu.Lock()
	q.draining = true
	q.mu.Unlock()
	q.Watch.Ready()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.draining = false
	n, taken := 0, 0
	for taken < len(q.entries) && n+len(q.entries[taken]) <= len(buf) {
		n += copy(buf[n:], q.entries[taken])
		taken++
	}
	if taken == 0 && len(q.entries) > 0 {
		q.signal()
		return -len(q.entries[0])
	}
	clear(q.entries[:taken])
	q.entries = q.entries[taken:]
	q.bytes -= n
	if len(q.entries) > 0 {
		q.signal()
		return n
	}
	q.entries = nil
	if q.signaled {
		q.signaled = false
		var wake [1]byte
		_, _ = syscall.Read(q.pipe[0], wake[:])
	}
	return n
}

// Close drops all completions. The event loop must not watch the descriptor any more.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	q.entries, q.deferred, q.bytes = nil, nil, 0
	_ = syscall.Close(q.pipe[0])
	_ = syscall.Close(q.pipe[1])
	q.Watch.Close()
}
