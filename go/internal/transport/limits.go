package transport

import (
	"cmp"
	"fmt"
	"math"
	"time"
)

// Limits bounds what one process costs another. A zero field means its default. PendingHandshakes and
// Unlisted are lower where the process may have few descriptors: see places.go.
type Limits struct {
	Frame             int // bytes of a frame's body, 16 MiB; the same in the whole cluster
	PendingHandshakes int // inbound connections in handshake at once, 512; for one more an old one is closed
	Sessions          int // sessions and lanes at once, 4096; more are closed
	Unlisted          int // inbound sessions of processes without a row, 256; for one more an old one is closed
	PerProcess        int // inbound sessions, lanes included, of one process, 8; for one more its oldest is closed
	Requests          int // requests of one session not yet answered, 1024; more get ErrOverload
	QueueBytes        int // bytes of one session not yet written, 32 MiB; more is ErrOverload
	QueueFrames       int // frames of one session not yet written, 65536; more is ErrOverload

	HandshakeTimeout time.Duration // for a connection to become a session, 2 s
	Heartbeat        time.Duration // after writing nothing for so long, a sign of life is sent, 1 s
	ReadTimeout      time.Duration // after reading nothing for so long, the session ends, 5 s
	WriteTimeout     time.Duration // after a write makes no progress for so long, it ends, 5 s
	DrainTimeout     time.Duration // for Close(nil) to send what is queued, 1 s
}

// withDefaults returns l with its zero fields filled in, or an error that names a field.
func (l Limits) withDefaults() (Limits, error) {
	err := cmp.Or(
		fill("Frame", &l.Frame, 16<<20),
		fill("PendingHandshakes", &l.PendingHandshakes, 512),
		fill("Sessions", &l.Sessions, 4096),
		fill("Unlisted", &l.Unlisted, 256),
		fill("PerProcess", &l.PerProcess, 8),
		fill("Requests", &l.Requests, 1024),
		fill("QueueBytes", &l.QueueBytes, 32<<20),
		fill("QueueFrames", &l.QueueFrames, 1<<16),
		fill("HandshakeTimeout", &l.HandshakeTimeout, 2*time.Second),
		fill("Heartbeat", &l.Heartbeat, time.Second),
		fill("ReadTimeout", &l.ReadTimeout, 5*time.Second),
		fill("WriteTimeout", &l.WriteTimeout, 5*time.Second),
		fill("DrainTimeout", &l.DrainTimeout, time.Second),
	)
	switch {
	case err != nil:
	case l.Frame > math.MaxInt32: // the length is 32 bits on the wire, and an int may be
		err = fmt.Errorf("option Limits.Frame is %d, at most %d are allowed", l.Frame, math.MaxInt32)
	case l.QueueBytes-headerSize < l.Frame:
		err = fmt.Errorf("option Limits.QueueBytes is %d, too small for one frame of Limits.Frame, %d bytes",
			l.QueueBytes, l.Frame)
	case l.ReadTimeout <= l.Heartbeat:
		err = fmt.Errorf("option Limits.ReadTimeout is %v, it must be longer than Limits.Heartbeat, %v", l.ReadTimeout, l.Heartbeat)
	}
	return l, err
}

// fill gives a field that is zero its default.
func fill[T int | time.Duration](name string, field *T, standard T) error {
	if *field < 0 {
		return fmt.Errorf("option Limits.%s is %v, it must be positive", name, *field)
	}
	*field = cmp.Or(*field, standard)
	return nil
}
