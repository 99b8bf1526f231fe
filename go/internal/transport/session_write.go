package transport

import (
	"bufio"
	"crypto/tls"
	"errors"
	"time"
)

// bufferSize is the size of a session's read and write buffers, in bytes: what a TLS record
// holds. Larger bodies bypass the buffers.
const bufferSize = 16 << 10

// writeDirect writes a frame in the goroutine that sends it, without waiting for the socket.
//
// The tension: a switch to another thread costs 10 to 30 µs, so a single frame is best written by
// its sender. But a socket whose peer reads slowly blocks, and a handler that answers would then
// block its reader; two peers that do so at once would wait for each other. So a sender writes only
// what the socket takes at once, and only while nobody else writes and nothing is queued. The rest
// is left to the writer goroutine, which may wait, and which writes all queued frames in one system
// call.
func (s *Session) writeDirect(frame []byte) {
	s.timed.nonblocking.Store(true)
	_, err := s.conn.Write(frame)
	s.timed.nonblocking.Store(false)
	s.countWritten(frame)
	s.queue.writtenDirect(len(frame), len(s.timed.unwritten) > 0)
	if err != nil {
		s.end(err)
	}
}

func (s *Session) countWritten(frame []byte) {
	s.transport.counters.framesOut.Add(1)
	s.transport.counters.bytesOut.Add(uint64(len(frame)))
}

// write is the writer goroutine: it writes what is queued until the session ends.
func (s *Session) write() {
	defer s.transport.group.Done()
	if err := Guard(s.writeQueue); err != nil {
		s.end(err)
	}
}

func (s *Session) writeQueue() error {
	out := bufio.NewWriterSize(s.conn, bufferSize)
	idle := time.NewTimer(s.transport.limits.Heartbeat)
	defer idle.Stop()
	for {
		batch, work, open := s.queue.take()
		if work {
			if err := s.writeBatch(out, batch); err != nil {
				return err
			}
			idle.Reset(s.transport.limits.Heartbeat)
			continue
		}
		if !open {
			return s.closeWrite()
		}
		select {
		case <-s.queue.wake:
		case <-idle.C:
			if s.peer.Lane {
				continue // the peer has no read timeout for a lane, and a heartbeat would wake its event loop
			}
			err := s.enqueue(typeHeartbeat, 0, 0)
			if err != nil && !errors.Is(err, ErrOverload) && !errors.Is(err, ErrClosed) {
				return err
			}
			idle.Reset(s.transport.limits.Heartbeat)
		case <-s.ended:
			return nil
		}
	}
}

func (s *Session) writeBatch(out *bufio.Writer, batch [][]byte) error {
	if err := s.timed.flush(); err != nil {
		return err
	}
	for _, frame := range batch {
		if _, err := out.Write(frame); err != nil {
			return err
		}
		s.queue.written(len(frame))
		s.countWritten(frame)
	}
	return out.Flush()
}

// closeWrite shows the peer that nothing more follows, and leaves the rest to the reader, which
// reads on until the peer closes. To close at once with something unread would make TCP reset the
// connection, and the peer could lose what it has not read yet.
func (s *Session) closeWrite() error {
	if secured, ok := s.conn.(*tls.Conn); ok {
		if err := secured.CloseWrite(); err != nil {
			return err
		}
	}
	if half, ok := s.raw.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
