package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/mesh"
	"guillotina_groupcache/internal/transport"
)

// fakePeer is a peer that sends what a test likes; answer is its answer to each request.
type fakePeer struct {
	*transport.Transport
	who    uint64 // its incarnation
	mu     sync.Mutex
	asked  int
	answer func() ([]byte, error)
}

func (s *fakePeer) Up(*transport.Session)                                   {}
func (s *fakePeer) Down(*transport.Session, error)                          {}
func (s *fakePeer) Message(*transport.Session, transport.FrameKind, []byte) {}

func (s *fakePeer) Request(_ *transport.Session, _ transport.FrameKind, _ []byte, answer func([]byte, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.answer != nil {
		answer(s.answer())
	}
}

func newIdentity(t testing.TB) *transport.Identity {
	t.Helper()
	identity, err := transport.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

func newFakePeer(t testing.TB, listen string) *fakePeer {
	t.Helper()
	s := &fakePeer{}
	options := transport.Options{Identity: newIdentity(t), Handler: s}
	if listen != "" {
		options.Listen = []string{listen}
	}
	s.who = options.Identity.Incarnation()
	var err error
	s.Transport, err = transport.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func (s *fakePeer) dial(t testing.TB, p *process) *transport.Session {
	t.Helper()
	session, err := s.Dial(t.Context(), p.mesh.Address)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func wantEnded(t testing.TB, s *transport.Session, what string) {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Errorf("%s did not end the session", what)
	}
}

func TestMalformedFramesEndTheirSessionAndNothingElse(t *testing.T) {
	db := newDatabase()
	p := cluster(t, db, unixAddress(t))[0]
	s := newFakePeer(t, "")
	for what, frame := range map[string]struct {
		kind transport.FrameKind
		body []byte
	}{
		"an unknown kind":             {99, nil},
		"no message of coherence":     {mesh.FrameCoherence, []byte{1, 2, 3}},
		"a value without a key":       {mesh.FramePut, []byte{1, 2, 3}},
		"a value with a cut key":      {mesh.FramePut, append(packPut(put{life: 1})[:3*8], 255, 0, 0, 0)},
		"a value without a life":      {mesh.FramePut, packPut(put{life: 0})},
		"a value with a life below 0": {mesh.FramePut, packPut(put{life: 1 << 63})},
		"a kind that wants an answer": {mesh.FrameGet, nil},
	} {
		session := s.dial(t, p)
		if err := session.Send(frame.kind, frame.body); err != nil {
			t.Error(err)
		}
		wantEnded(t, session, what)
	}
	for what, frame := range map[string]struct {
		kind transport.FrameKind
		body []byte
	}{
		"a request for nothing":  {mesh.FrameGet, nil},
		"a request with cut key": {mesh.FrameGet, append(make([]byte, 8), 255, 0, 0, 0)},
		"an unknown request":     {99, nil},
	} {
		session := s.dial(t, p)
		if _, err := session.Call(t.Context(), frame.kind, frame.body); err == nil {
			t.Errorf("%s was answered", what)
		}
		wantEnded(t, session, what)
	}
	p.write("k", "v", true)
	if got := p.get("k"); got != "v" {
		t.Errorf("got %q", got)
	}
	eventually(t, "nothing is kept of the peer", func() bool { return p.peerCount() == 0 })
}

func TestAnyoneWithTheSecretIsServed(t *testing.T) {
	db := newDatabase()
	p := cluster(t, db, unixAddress(t))[0]
	db.with(func() { db.values["k"] = "v" })
	versioned := cache.VersionedKey{Key: []byte("k"), Version: 8}
	session := newFakePeer(t, "").dial(t, p)
	for _, source := range []cache.Source{cache.Database, cache.Peer} {
		body, err := session.Call(t.Context(), mesh.FrameGet, packKeys([]cache.VersionedKey{versioned}))
		if err != nil {
			t.Fatal(err)
		}
		results, err := unpackAnswer(body, 1, now())
		if err != nil || len(results) != 1 {
			t.Fatalf("got %v, %v", results, err)
		}
		wantResult(t, results[0], source, "v")
	}
}

// An earlier process may have had the address at which this one listens, and have a row still.
func TestASessionWithItself(t *testing.T) {
	db := newDatabase()
	p := cluster(t, db, unixAddress(t))[0]
	session, err := p.mesh.Transport.Dial(t.Context(), p.mesh.Address)
	must(t, err)
	// It may be refused at once, or when it speaks.
	_ = session.Send(mesh.FrameCoherence, (&coherence.Message{Kind: coherence.JoinRequest, Attempt: 1}).Append(nil))
	wantEnded(t, session, "the own incarnation")
	p.write("k", "v", true)
	if rows := p.rows(); len(rows) != 0 {
		t.Errorf("it is a member of its own: %v", rows)
	}
	db.with(func() {
		if slices.Contains(db.marked, p.incarnationID()) {
			t.Error("it has marked itself out")
		}
	})
}

func TestTwoSessionsOfOneIncarnation(t *testing.T) {
	db := newDatabase()
	p := cluster(t, db, unixAddress(t))[0]
	s := newFakePeer(t, "")
	one, two := s.dial(t, p), s.dial(t, p)
	sessions := func() (n int) {
		p.driver.Lock()
		defer p.driver.Unlock()
		if l := p.mesh.Peers[coherence.Incarnation(s.who)]; l != nil {
			if l.Current == nil && len(l.Sessions) > 0 {
				t.Error("there are sessions, but none in use")
			}
			n = len(l.Sessions)
		}
		return n
	}
	eventually(t, "both are known", func() bool { return sessions() == 2 })
	one.Close(nil)
	eventually(t, "one is left, and in use", func() bool { return sessions() == 1 })
	two.Close(nil)
	eventually(t, "none is left", func() bool { return sessions() == 0 && p.peerCount() == 0 })
}

// listed opens a process, and a fake peer that the members table shows as in.
func listed(t *testing.T, db *database) (*process, *fakePeer) {
	t.Helper()
	address := unixAddress(t)
	p := cluster(t, db, unixAddress(t))[0]
	s := newFakePeer(t, address)
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	db.with(func() { db.rows[s.who] = memberRow{Incarnation: s.who, Address: address, State: "in"} })
	eventually(t, "the fake peer owns keys", func() bool { return p.reaches() == 1 })
	return p, s
}

func keyOfAnother(p *process, n int) string {
	for i := 0; ; i++ {
		if key := string(rune('a'+i%26)) + string(rune('0'+i/26)); p.group.Owner([]byte(key)) != "" {
			if n == 0 {
				return key
			}
			n--
		}
	}
}

func TestMalformedAnswersOfAnOwner(t *testing.T) {
	good := packAnswer([]cache.Result{{Value: []byte("x"), Source: cache.Peer, Expires: cache.Never}}, 100, 0)
	life := func(n uint64) []byte {
		return append(binary.LittleEndian.AppendUint64([]byte{good[0]}, n), good[1+8:]...)
	}
	for what, body := range map[string][]byte{
		"nothing":                   {},
		"no list":                   {1, 2},
		"too many results":          bytes.Repeat(good, 3),
		"a source that is not":      append([]byte{200}, good[1:]...),
		"a result with no value":    make([]byte, 1+8+4),
		"a value without a life":    life(0),
		"a life below 0":            life(1 << 63),
		"a life of nearly for ever": life(forever - 1),
		"a result that has an end":  good[:len(good)-1],
	} {
		t.Run(what, func(t *testing.T) {
			db := newDatabase()
			p, s := listed(t, db)
			s.mu.Lock()
			s.answer = func() ([]byte, error) { return body, nil }
			s.mu.Unlock()
			one, two := keyOfAnother(p, 0), keyOfAnother(p, 1)
			db.with(func() { db.values[one], db.values[two] = "v", "w" })
			for i, r := range p.read(one, two) {
				if want := []string{"v", "w"}[i]; r.Source != cache.Database || string(r.Value) != want {
					t.Errorf("got %q from %d, want %q from the database", r.Value, r.Source, want)
				}
			}
		})
	}
}

func TestAnOwnerThatDoesNotAnswerIsNotAskedForAWhile(t *testing.T) {
	db := newDatabase()
	p, s := listed(t, db)
	one, two := keyOfAnother(p, 0), keyOfAnother(p, 1)
	db.with(func() { db.values[one], db.values[two] = "v", "w" })
	wantResult(t, p.read(one)[0], cache.Database, "v")
	if !p.mesh.Breakers.Open(s.Address()) {
		t.Skip("this machine was so slow that the pause is over")
	}
	s.mu.Lock()
	asked := s.asked
	s.mu.Unlock()
	wantResult(t, p.read(two)[0], cache.Database, "w")
	s.mu.Lock()
	defer s.mu.Unlock()
	if asked != 1 || s.asked > 2 {
		t.Errorf("it was asked %d times, then %d times", asked, s.asked)
	}
}

// That holds for every way to ask it.
func TestAnOwnerThatIsNotAskedForAWhileIsAskedInNoWay(t *testing.T) {
	p, s := listed(t, newDatabase())
	if p.peers().Fetcher(s.Address()) == nil {
		t.Error("an owner cannot be asked")
	}
	for tested := false; !tested; {
		p.mesh.Breakers.Record(s.Address(), context.DeadlineExceeded)
		fetcher := p.peers().Fetcher(s.Address())
		_, err := p.peers().Get(t.Context(), s.Address(), []cache.VersionedKey{{Key: []byte("k")}})
		if tested = p.mesh.Breakers.Open(s.Address()); !tested {
			continue // this machine was so slow that the pause is over
		}
		if fetcher != nil {
			t.Error("it is asked for one key")
		}
		if !errors.Is(err, errUnreachable) {
			t.Errorf("it is asked for several: %v", err)
		}
	}
}
