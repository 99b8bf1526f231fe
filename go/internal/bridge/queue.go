// Package completion hands finished work to Python.
//
// Go never calls into Python. What is finished, or asked of Python, is put into a queue, and
// one byte in a pipe wakes the event loop, which then takes all there is in one call. The pipe
// is one of the descriptors of a watch, which is what the event loop knows.
package bridge

import (
	"encoding/binary"
	"fmt"
	"sync"
	"syscall"
)

// Kind tells what an entry is about.
type Kind uint8

const (
	// Values answers a request for keys: for each a status byte and the value.
	Values Kind = iota + 1
	// Load asks to load keys from the database.
	Load
	// Passed tells that an event was acknowledged: COMMIT may be sent.
	Passed
	// Database asks for a statement on the members table, or about open transactions.
	Database
	// PeerStats answers a request for the peers' statistics.
	PeerStats
	// Note is a change of state for the log.
	Note
)

// headerSize is the length of an entry before its payload: length of the whole (4 bytes),
// kind (1), three bytes of nothing, id (8); little endian.
const headerSize = 16

// maxBytes bounds what waits for a Python that does not come to take it. Beyond it Put is
// false, and who asked for the work, or owes the answer, has to make do.
const maxBytes = 256 << 20

// Queue of entries, in order. It is safe for concurrent use.
type Queue struct {
	mu       sync.Mutex
	entries  [][]byte
	bytes    int
	pipe     [2]int
	signaled bool // there is a byte in the pipe
	attended bool // Python is about to drain, and needs no byte
	closed   bool
}

// New returns an empty queue.
func New() (*Queue, error) {
	q := &Queue{}
	if err := syscall.Pipe(q.pipe[:]); err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	for _, fd := range q.pipe {
		syscall.CloseOnExec(fd)
		if err := syscall.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("bridge: %w", err)
		}
	}
	return q, nil
}

// FD is readable while entries wait.
func (q *Queue) FD() int { return q.pipe[0] }

// Put adds an entry; it is false when the queue is full or closed.
func (q *Queue) Put(kind Kind, id uint64, payload ...[]byte) bool {
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

	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.bytes+size > maxBytes {
		return false
	}
	q.entries = append(q.entries, entry)
	q.bytes += size
	if !q.attended {
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

// Attend tells that Drain comes next, so that what is put until then wakes nobody.
func (q *Queue) Attend() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.attended = true
}

// Drain moves as many whole entries as fit into buf, in order, and returns their bytes. When
// not even the first fits it returns how many bytes that needs, negative.
func (q *Queue) Drain(buf []byte) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.attended = false
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
	if len(q.entries) == 0 {
		q.entries = nil
		if q.signaled {
			q.signaled = false
			var wake [1]byte
			_, _ = syscall.Read(q.pipe[0], wake[:])
		}
	} else {
		q.signal()
	}
	return n
}

// Close drops what waits. The caller no longer watches the descriptor.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	q.entries, q.bytes = nil, 0
	_ = syscall.Close(q.pipe[0])
	_ = syscall.Close(q.pipe[1])
}
