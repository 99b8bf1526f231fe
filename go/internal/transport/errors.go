package transport

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	// ErrClosed is returned when the session or the transport has ended.
	ErrClosed = errors.New("closed")

	// ErrOverload is returned when a queue is full, here or (as a RemoteError) at the peer.
	ErrOverload = errors.New("overload")

	// ErrTooLarge is returned for a frame over Limits.Frame. Nothing of it is sent.
	ErrTooLarge = errors.New("frame too large")

	// ErrInUse is returned by Listen when another process listens on the address.
	ErrInUse = errors.New("in use")

	// ErrNotAdmitted is returned by Dial when Options.Admit, here or at the other side, does not
	// let the other process in: so another process than this one answers there.
	ErrNotAdmitted = errors.New("not admitted")
)

// RemoteError is the error that the peer's handler answered a request with.
type RemoteError struct {
	Message string

	overload bool
}

func (e *RemoteError) Error() string { return "peer: " + e.Message }

// Is makes a peer's overload an ErrOverload.
func (e *RemoteError) Is(target error) bool { return e.overload && target == ErrOverload }

// RefusalError is what Dial returns with ErrNotAdmitted in it. The process that was dialled has
// proved who it is, which may be another one than its address was thought to lead to.
type RefusalError struct {
	By  uint64 // its incarnation
	err error
}

func (e *RefusalError) Error() string { return e.err.Error() }

func (e *RefusalError) Unwrap() error { return e.err }

// Printable is a text that another process wrote, as a part of one line.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, text)
}

// Reason is why a connection was refused or a session broken off, as counted in Stats.
type Reason string

// The reasons there are.
const (
	ReasonBusy             Reason = "busy"              // more than Limits.PendingHandshakes, Sessions, Unlisted or PerProcess
	ReasonUnlisted         Reason = "unlisted"          // its process has had no row for too long
	ReasonAccept           Reason = "accept"            // no descriptor, or memory, to accept a connection with
	ReasonHandshakeTimeout Reason = "handshake_timeout" // not done within Limits.HandshakeTimeout
	ReasonTLS              Reason = "tls"               // wrong secret, certificate or TLS version, or no TLS
	ReasonMagic            Reason = "magic"             // no hello of this protocol
	ReasonVersion          Reason = "version"           // another version of this protocol
	ReasonHello            Reason = "hello"             // a broken or incomplete hello
	ReasonProof            Reason = "proof"             // it is not the process that its hello names
	ReasonNotAdmitted      Reason = "not_admitted"      // refused by Options.Admit
	ReasonOversized        Reason = "oversized"         // a frame longer than Limits.Frame
	ReasonMalformed        Reason = "malformed"         // a frame of no known type or form
	ReasonTruncated        Reason = "truncated"         // the connection ended within a frame
	ReasonReadTimeout      Reason = "read_timeout"      // nothing read for Limits.ReadTimeout
	ReasonWriteTimeout     Reason = "write_timeout"     // nothing could be written for Limits.WriteTimeout
	ReasonViolation        Reason = "violation"         // what no honest peer says, see Violation
	ReasonFlood            Reason = "flood"             // requests, but no room in the queue to refuse them
	ReasonPanic            Reason = "panic"             // this side's handler panicked
)

// fault is an error that is counted in Stats and logged.
type fault struct {
	reason Reason
	err    error
}

func (f *fault) Error() string { return f.err.Error() }

func (f *fault) Unwrap() error { return f.err }

// Violation makes a fault of what a peer has said and no honest one says. A session that is closed
// with it is counted and logged under a reason of its own.
func Violation(err error) error { return &fault{ReasonViolation, err} }

func faultf(reason Reason, format string, args ...any) error {
	return &fault{reason, fmt.Errorf(format, args...)}
}

// Panicked is the error that [Guard] makes of a panic.
type Panicked struct {
	Value any
	Stack string // for the log, and for nobody else
}

func (p *Panicked) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Guard calls f and makes an error of a panic in it: a bug in what is done for one peer must not
// end the process.
func Guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &fault{ReasonPanic, &Panicked{p, string(debug.Stack())}}
		}
	}()
	return f()
}
