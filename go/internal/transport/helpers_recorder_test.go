package transport

import (
	"encoding/binary"
	"errors"
	"sync"
	"testing"
)

// Kinds of frames that the recorder knows.
const (
	kindEcho  FrameKind = 1 + iota // answers the body
	kindFail                       // answers an error with the body as its text
	kindHold                       // answers when the test says so
	kindPanic                      // panics
	kindSize                       // answers as many bytes as the body's uint32 says
	kindHang                       // blocks the reader until the test says so
)

// recorder is a handler that records its calls.
type recorder struct {
	mu       sync.Mutex
	onUp     func(*Session)
	ups      []*Session
	downs    []error
	messages []string
	held     []func([]byte, error)
	hang     chan struct{}
}

func newRecorder() *recorder { return &recorder{hang: make(chan struct{})} }

func (r *recorder) Up(s *Session) {
	r.mu.Lock()
	r.ups = append(r.ups, s)
	onUp := r.onUp
	r.mu.Unlock()
	if onUp != nil {
		onUp(s)
	}
}

func (r *recorder) whenUp(do func(*Session)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onUp = do
}

func (r *recorder) Down(_ *Session, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.downs = append(r.downs, err)
}

func (r *recorder) Message(_ *Session, kind FrameKind, body []byte) {
	switch kind {
	case kindPanic:
		panic("on purpose")
	case kindHang:
		<-r.hang
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, string(body))
}

func (r *recorder) Request(_ *Session, kind FrameKind, body []byte, answer func([]byte, error)) {
	switch kind {
	case kindEcho:
		answer(body, nil)
		answer([]byte("a second answer"), nil)
	case kindFail:
		answer(nil, errors.New(string(body)))
	case kindHold:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.held = append(r.held, answer)
	case kindSize:
		answer(make([]byte, binary.BigEndian.Uint32(body)), nil)
	case kindPanic:
		panic("on purpose")
	}
}

func (r *recorder) seen() (ups, downs, messages, held int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ups), len(r.downs), len(r.messages), len(r.held)
}

// answerHeld answers all requests of kindHold.
func (r *recorder) answerHeld(body []byte) {
	r.mu.Lock()
	held := r.held
	r.held = nil
	r.mu.Unlock()
	for _, answer := range held {
		answer(body, nil)
	}
}

func (r *recorder) session(t *testing.T, i int) *Session {
	t.Helper()
	waitFor(t, "session", func() bool { ups, _, _, _ := r.seen(); return ups > i })
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ups[i]
}

func (r *recorder) waitDowns(t *testing.T, n int) []error {
	t.Helper()
	waitFor(t, "Down", func() bool { _, downs, _, _ := r.seen(); return downs >= n })
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.downs
}
