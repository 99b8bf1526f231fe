package transport

import (
	"bufio"
	"crypto/tls"
	"time"
)

// bufferSize is that of a session's read and its write buffer, in bytes: as much as a TLS
// record holds. Larger bodies go past the buffers.
const bufferSize = 16 << 10

// write is the writer goroutine: it writes what is queued until the session ends.
//
// The tension: writing in the goroutine that sends would save a switch of goroutines, but a
// socket whose peer reads slowly blocks, and then a handler that answers blocks its reader;
// two peers that do so at once wait for each other. A writer of its own makes Send and
// answer free of waiting, and puts all that has gathered meanwhile into one system call.
// The switch itself is cheap where it matters: a caller that goes on to wait for its answer,
// and a reader that goes on to wait for its next frame, hand their thread to the writer.
// Measured against writing directly whenever nobody else does (BenchmarkCall, two cores):
// one call at a time costs the same, many at once cost less than half.
func (s *Session) write() {
	defer s.owner.group.Done()
	if err := s.owner.guard(s.writeQueue); err != nil {
		s.end(err)
	}
}

func (s *Session) writeQueue() error {
	out := bufio.NewWriterSize(s.conn, bufferSize)
	idle := time.NewTimer(s.owner.limits.Beat)
	defer idle.Stop()
	beat := encodeFrame(typeBeat, 0, 0)
	for {
		batch, open := s.queue.take()
		if err := s.writeBatch(out, batch); err != nil {
			return err
		}
		if len(batch) > 0 {
			idle.Reset(s.owner.limits.Beat)
			continue
		}
		if !open {
			return s.endWriting()
		}
		select {
		case <-s.queue.wake:
		case <-idle.C:
			if _, err := s.conn.Write(beat); err != nil {
				return err
			}
			idle.Reset(s.owner.limits.Beat)
		case <-s.ended:
			return nil
		}
	}
}

func (s *Session) writeBatch(out *bufio.Writer, batch [][]byte) error {
	for _, frame := range batch {
		if _, err := out.Write(frame); err != nil {
			return err
		}
		s.queue.written(len(frame))
		s.owner.counters.framesOut.Add(1)
		s.owner.counters.bytesOut.Add(uint64(len(frame)))
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
