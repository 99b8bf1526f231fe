package transport

import (
	"bufio"
	"crypto/tls"
	"errors"
	"time"
)

// bufferSize is that of a session's read and its write buffer, in bytes: as much as a TLS
// record holds. Larger bodies go past the buffers.
const bufferSize = 16 << 10

// writeNow writes a frame in the goroutine that sends it, without waiting for the socket.
//
// The tension: a switch to another thread costs 10 to 30 µs, so a frame that goes out alone
// is written where it was made. But a socket whose peer reads slowly blocks, and then a
// handler that answers would block its reader; two peers that do so at once would wait for
// each other. So a sender writes what the socket takes at once, and only when nobody else
// does and nothing waits. All else is the writer's, which waits, and puts what has gathered
// meanwhile into one system call.
func (s *Session) writeNow(frame []byte) {
	s.timed.hasty.Store(true)
	_, err := s.conn.Write(frame)
	s.timed.hasty.Store(false)
	s.count(frame)
	s.queue.wrote(len(frame), len(s.timed.rest) > 0)
	if err != nil {
		s.end(err)
	}
}

func (s *Session) count(frame []byte) {
	s.owner.counters.framesOut.Add(1)
	s.owner.counters.bytesOut.Add(uint64(len(frame)))
}

// write is the writer goroutine: it writes what is queued until the session ends.
func (s *Session) write() {
	defer s.owner.group.Done()
	if err := Guard(s.writeQueue); err != nil {
		s.end(err)
	}
}

func (s *Session) writeQueue() error {
	out := bufio.NewWriterSize(s.conn, bufferSize)
	idle := time.NewTimer(s.owner.limits.Heartbeat)
	defer idle.Stop()
	for {
		batch, work, open := s.queue.take()
		if work {
			if err := s.writeBatch(out, batch); err != nil {
				return err
			}
			idle.Reset(s.owner.limits.Heartbeat)
			continue
		}
		if !open {
			return s.endWriting()
		}
		select {
		case <-s.queue.wake:
		case <-idle.C:
			if s.peer.Lane {
				continue // nobody waits there for a sign of life, and one would wake the peer's event loop
			}
			if err := s.put(typeBeat, 0, 0); err != nil && !errors.Is(err, ErrOverload) && !errors.Is(err, ErrClosed) {
				return err
			}
			idle.Reset(s.owner.limits.Heartbeat)
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
		s.count(frame)
	}
	return out.Flush()
}

// endWriting tells the peer that nothing more comes, and leaves the rest to the reader: it
// reads on until the peer closes. To close at once with something unread would make TCP
// reset the connection, and could cost the peer what it has not read yet.
func (s *Session) endWriting() error {
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
