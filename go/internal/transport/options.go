package transport

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"syscall"
	"time"
)

// FrameKind says what a frame is about. Its meaning is the caller's.
type FrameKind uint8

// Peer is what is known of the process at the other end of a connection.
type Peer struct {
	Incarnation uint64 // id of one run of one process, proved by its [Identity]; never 0
	Address     string // where it says that it can be dialled; "": a client, which cannot be
	Lane        bool   // this connection is a [Lane] of it: it only asks over it
}

// Handler is what a Transport calls. A panic in it ends that session and nothing else.
//
// All calls but Up are made by the session's reader goroutine, one after the other, in the
// order in which the frames arrived. They must not block: while one runs, nothing is read.
type Handler interface {
	// Up is called once the handshake is complete, before any frame of the session. For a
	// dialled session this happens inside Dial, so Up must not need a lock that the caller of
	// Dial holds.
	Up(s *Session)

	// Down is the last call for a session, made exactly once if Up was called. err is nil
	// after this side's Close(nil), io.EOF when the other side closed in order, else the
	// error that ended the session.
	Down(s *Session, err error)

	// Message is called for a one-way frame. body is valid only during the call.
	Message(s *Session, kind FrameKind, body []byte)

	// Request is called for a frame that wants an answer. body is valid only during the call;
	// answer copies its argument. answer may be called later and from any goroutine; it never
	// blocks. A second call does nothing, nor does a call after the session's end. A request
	// that is never answered counts against Limits.Requests for ever.
	Request(s *Session, kind FrameKind, body []byte, answer func(body []byte, err error))
}

// Files names the PEM files of a private PKI. The certificate must be valid for server and
// client use and carry the name or IP address under which peers dial it.
type Files struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
	CA   string `json:"ca"`
}

// Options configures a Transport. Only New reads it.
type Options struct {
	Identity *Identity // required; proves the incarnation of this process
	Listen   []string  // "host:port" or "unix:/path": the first free one is taken; none: no listener
	// Self is sent to every peer. Its Address is the "host" or "host:port" that peers dial; "":
	// where this process listens. A client has none. Its Incarnation must be 0, as Identity has it.
	Self  Peer
	Admit func(Peer) error // returns why a peer is refused; nil: all peers are admitted
	// Listed reports whether a process has a row in the members table; nil: every process has one.
	// It must not block.
	Listed  func(incarnation uint64) bool
	Secret  Secret  // the cluster's shared secret, see Secret; excludes TLS
	TLS     *Files  // a private PKI; excludes Secret
	Handler Handler // required
	// Log receives "info", "warning" and "error" lines; nil: no log. It is called from any
	// goroutine and must not block.
	Log    func(level, text string)
	Limits Limits
}

// validate checks everything but Limits.
func (o *Options) validate() error {
	if o.Handler == nil {
		return errors.New("option Handler is nil")
	}
	if o.Identity == nil {
		return errors.New("option Identity is nil")
	}
	if o.Self.Incarnation != 0 {
		return fmt.Errorf("option Self.Incarnation is %d, it must be 0: it comes from Identity", o.Self.Incarnation)
	}
	if len(o.Listen) == 0 && o.Self.Address != "" {
		return fmt.Errorf("option Self.Address is %q, but Listen is empty: no process would answer there", o.Self.Address)
	}
	for _, text := range o.Listen {
		a, err := parseAddress(text, o.secured())
		if err != nil {
			return err
		}
		advertised, err := parseAddress(a.advertised(o.Self.Address), o.secured())
		if err != nil {
			return err
		}
		if advertised.wildcard() {
			return fmt.Errorf("address %q stands for every address of a host, so peers cannot dial it:"+
				" say which one to advertise", advertised.text)
		}
	}
	return nil
}

// secured reports whether connections are authenticated and encrypted.
func (o *Options) secured() bool { return len(o.Secret) > 0 || o.TLS != nil }

// Limits bounds what one process can cost another. A zero field means its default.
// PendingHandshakes and Unlisted are lower where the process may open few descriptors, see
// withDescriptors.
type Limits struct {
	Frame             int // bytes of a frame's body, 16 MiB; must be the same in the whole cluster
	PendingHandshakes int // inbound connections in handshake at once, 512; one more evicts an old one
	Sessions          int // sessions and lanes at once, 4096; more are refused
	Unlisted          int // inbound sessions of processes without a row, 256; one more evicts an old one
	PerProcess        int // inbound sessions, lanes included, of one process, 8; one more evicts its oldest
	Requests          int // unanswered requests of one session, 1024; more get ErrOverload
	QueueBytes        int // bytes of one session not yet written, 32 MiB; more get ErrOverload
	QueueFrames       int // frames of one session not yet written, 65536; more get ErrOverload

	HandshakeTimeout time.Duration // for a connection to complete its handshake, 2 s
	Heartbeat        time.Duration // a session that has written nothing for so long sends a heartbeat, 1 s
	ReadTimeout      time.Duration // a session that has read nothing for so long ends, 5 s
	WriteTimeout     time.Duration // a session whose write has made no progress for so long ends, 5 s
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
		err = fmt.Errorf("option Limits.ReadTimeout is %v, it must be longer than Limits.Heartbeat, %v",
			l.ReadTimeout, l.Heartbeat)
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

// withDescriptors returns l so that pending handshakes and unlisted sessions hold at most a quarter
// of the descriptors that the process may open. The rest is for the application and for members.
func (l Limits) withDescriptors() Limits {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return l
	}
	// A tenth each: as many again as a quarter of the pending handshakes may be evicted and not closed yet.
	each := int(min(max(limit.Cur/10, 4), 1<<20))
	l.PendingHandshakes, l.Unlisted = min(l.PendingHandshakes, each), min(l.Unlisted, each)
	return l
}
