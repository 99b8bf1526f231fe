package transport

import (
	"errors"
	"fmt"
)

// FrameKind says what a frame is about. Its meaning is the caller's.
type FrameKind uint8

// Peer is who a process is, and what it says of itself in its hello.
type Peer struct {
	Incarnation uint64 // id of one run of one process, proved by its [Identity]; never 0
	Address     string // where it can be dialled; "": a client, which cannot be
	Lane        bool   // this connection is a [Lane] of it: it only asks over it
}

// Handler is what a Transport calls. A panic in it ends that session and nothing else.
//
// All calls but Up are made by the session's reader goroutine, one after the other, in the
// order in which the frames arrived. They must not block: while one runs, nothing is read.
type Handler interface {
	// Up is called once the handshake is done, before any frame of the session. For a
	// dialled session that is inside Dial, so Up must not need a lock that the caller of
	// Dial holds.
	Up(s *Session)

	// Down is the last call for a session, made exactly once if Up was called. err is nil
	// after this side's Close(nil), io.EOF when the other side closed in order, else what
	// ended the session.
	Down(s *Session, err error)

	// Message is a one-way frame. body is valid only during the call.
	Message(s *Session, kind FrameKind, body []byte)

	// Request is a frame that wants an answer. body is valid only during the call; answer
	// copies what it is given. answer may be called later and from any goroutine; it never
	// blocks, a second call does nothing, and neither does one after the session's end.
	// A request that is never answered counts against Limits.Requests for ever.
	Request(s *Session, kind FrameKind, body []byte, answer func(body []byte, err error))
}

// Files names the PEM files of an own PKI. The certificate must be valid for server and
// client use and carry the name or IP under which peers dial it.
type Files struct{ Cert, Key, CA string }

// Options configures a Transport. It is read by New only.
type Options struct {
	Identity *Identity // required; who the process is
	Listen   []string  // "host:port" or "unix:/path": the first free one is taken; none: no listener
	// Self is told to every peer. Its Address is the "host" or "host:port" that peers dial; "":
	// where this process listens. A client has none. Its incarnation comes from Identity.
	Self  Peer
	Admit func(Peer) error // tells why a peer is not let in; nil: everyone is
	// Listed tells whether a process has a row in the members table; nil: everyone has. It must not
	// block.
	Listed  func(incarnation uint64) bool
	Secret  Secret  // the cluster's shared secret, see Secret; excludes TLS
	TLS     *Files  // an own PKI; excludes Secret
	Handler Handler // required
	// Log receives "warning" and "error" lines; nil: no log. It is called from any
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
		return fmt.Errorf("option Self.Incarnation is %d, it must be 0: Identity tells it", o.Self.Incarnation)
	}
	if len(o.Listen) == 0 && o.Self.Address != "" {
		return fmt.Errorf("option Self.Address is %q, but Listen is empty: nobody would answer there", o.Self.Address)
	}
	for _, text := range o.Listen {
		a, err := parseAddress(text, o.secured())
		if err != nil {
			return err
		}
		advertised, err := parseAddress(a.advertise(o.Self.Address), o.secured())
		if err != nil {
			return err
		}
		if advertised.wildcard() {
			return fmt.Errorf("address %q stands for every address of a host, so that nobody can dial it:"+
				" tell which one to advertise", advertised.text)
		}
	}
	return nil
}

// secured reports whether connections are authenticated and encrypted.
func (o *Options) secured() bool { return len(o.Secret) > 0 || o.TLS != nil }
