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

	// ErrNotAdmitted is returned by Dial when Options.Admit, of this process or of the one that was
	// dialled, refuses the other one.
	ErrNotAdmitted = errors.New("not admitted")
)

// RemoteError is the error with which the peer's handler answered a request.
type RemoteError struct {
	Message string

	overload bool
}

func (e *RemoteError) Error() string { return "peer: " + e.Message }

// Is makes a peer's overload an ErrOverload.
func (e *RemoteError) Is(target error) bool { return e.overload && target == ErrOverload }

// RefusalError wraps ErrNotAdmitted with the process that was dialled. That process has proved its
// incarnation, and may be another one than the caller expected at the address.
type RefusalError struct {
	By  uint64 // incarnation of the process that was dialled
	err error
}

func (e *RefusalError) Error() string { return e.err.Error() }
func (e *RefusalError) Unwrap() error { return e.err }

// Panicked is the error that [Guard] makes of a panic.
type Panicked struct {
	Value any
	Stack string // for the log only, never sent to a peer
}

func (p *Panicked) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Guard calls f and returns a panic in it as an error: a bug in the code that serves one peer must
// not end the process.
func Guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &fault{ReasonPanic, &Panicked{p, string(debug.Stack())}}
		}
	}()
	return f()
}

// Printable returns a text that another process wrote in a form that is safe within one log line.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, text)
}

// Reason is why a connection was refused or a session ended, as counted in Stats.Faults.
type Reason string

// All reasons.
const (
	ReasonBusy             Reason = "busy"              // over Limits.PendingHandshakes, Sessions, Unlisted or PerProcess
	ReasonUnlisted         Reason = "unlisted"          // its process has had no row for too long, see CloseUnlisted
	ReasonAccept           Reason = "accept"            // accept(2) failed, mostly for want of a descriptor or of memory
	ReasonHandshakeTimeout Reason = "handshake_timeout" // not done within Limits.HandshakeTimeout
	ReasonTLS              Reason = "tls"               // wrong secret, certificate or TLS version, or no TLS
	ReasonMagic            Reason = "magic"             // no hello of this protocol
	ReasonVersion          Reason = "version"           // another version of this protocol
	ReasonHello            Reason = "hello"             // a malformed or incomplete hello
	ReasonProof            Reason = "proof"             // it is not the process that its hello names
	ReasonNotAdmitted      Reason = "not_admitted"      // refused by Options.Admit
	ReasonOversized        Reason = "oversized"         // a frame longer than Limits.Frame
	ReasonMalformed        Reason = "malformed"         // a frame of an unknown type or form
	ReasonTruncated        Reason = "truncated"         // the connection ended within a frame
	ReasonReadTimeout      Reason = "read_timeout"      // nothing was read for Limits.ReadTimeout
	ReasonWriteTimeout     Reason = "write_timeout"     // nothing could be written for Limits.WriteTimeout
	ReasonViolation        Reason = "violation"         // something that no honest peer sends, see Violation
	ReasonFlood            Reason = "flood"             // more requests than the queue has room to refuse
	ReasonPanic            Reason = "panic"             // this side's handler panicked
)

// fault is an error that is counted in Stats and logged.
type fault struct {
	reason Reason
	err    error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// Violation marks err as something that no honest peer sends. A session that is closed with it is
// counted and logged under ReasonViolation.
func Violation(err error) error { return &fault{ReasonViolation, err} }

func faultf(reason Reason, format string, args ...any) error {
	return &fault{reason, fmt.Errorf(format, args...)}
}
