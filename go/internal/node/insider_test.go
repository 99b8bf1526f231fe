package node

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/mesh"
	"guillotina_groupcache/internal/transport"
)

// insider is a process that has the cluster's secret, or may open the user's sockets, and writes nothing
// to the database. It speaks the protocol over the real transport, and keeps no rule of it (R17).
type insider struct {
	*transport.Transport
	t      testing.TB
	who    coherence.Incarnation
	number atomic.Uint64 // of the last entry that it has sent
	own    atomic.Uint64 // of its last event

	refusal  atomic.Pointer[error]              // the error with which it refuses every process
	given    atomic.Pointer[coherence.Snapshot] // the last copy that it was sent
	sessions map[*process]*transport.Session
}

func newInsider(t testing.TB, listen string) *insider {
	t.Helper()
	in := &insider{t: t, sessions: make(map[*process]*transport.Session)}
	options := transport.Options{Identity: newIdentity(t), Handler: in, Admit: in.admit}
	for range 30 { // the lowest of many: a process whose versions differ from the lowest member's copies anew
		if other := newIdentity(t); other.Incarnation() < options.Identity.Incarnation() {
			options.Identity = other
		}
	}
	in.who = coherence.Incarnation(options.Identity.Incarnation())
	if listen != "" {
		options.Listen = []string{listen}
	}
	var err error
	if in.Transport, err = transport.New(options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.Close)
	return in
}

func (in *insider) Up(*transport.Session)          {}
func (in *insider) Down(*transport.Session, error) {}

func (in *insider) Message(_ *transport.Session, _ transport.FrameKind, body []byte) {
	message, err := coherence.Decode(body, 1<<16)
	if err == nil && message.Kind == coherence.Copy {
		in.given.Store(message.State)
	}
}

func (in *insider) Request(_ *transport.Session, _ transport.FrameKind, _ []byte, answer func([]byte, error)) {
	answer([]byte("no list"), nil)
}

func (in *insider) admit(transport.Peer) error {
	if refusal := in.refusal.Load(); refusal != nil {
		return *refusal
	}
	return nil
}

// to returns the insider's session with a process, a new one where the last has ended.
func (in *insider) to(p *process) *transport.Session {
	in.t.Helper()
	if s := in.sessions[p]; s != nil {
		select {
		case <-s.Done():
		default:
			return s
		}
	}
	s, err := in.Dial(in.t.Context(), p.mesh.Address)
	if err != nil {
		in.t.Fatal(err)
	}
	in.sessions[p] = s
	return s
}

// send sends one frame, and reports whether the session was there for it, and still is when the process
// has taken it: frames of a session are taken one after the other.
func (in *insider) send(p *process, kind transport.FrameKind, body []byte) bool {
	s := in.to(p)
	if err := s.Send(kind, body); err != nil {
		return false
	}
	return in.taken(s)
}

func (in *insider) taken(s *transport.Session) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := s.Call(ctx, mesh.FrameStats)
	return err == nil
}

// say sends messages of package coherence in frames of their own.
func (in *insider) say(p *process, messages ...*coherence.Message) (accepted bool) {
	accepted = true
	for _, message := range messages {
		accepted = in.send(p, mesh.FrameCoherence, message.Append(nil)) && accepted
	}
	return accepted
}

// entries are entries of the insider's log, in one message.
func (in *insider) entries(entries ...coherence.Entry) *coherence.Message {
	for i := range entries {
		entries[i].Number = in.number.Add(1)
	}
	return &coherence.Message{Kind: coherence.Events, Entries: entries}
}

// next is an event that the insider may announce.
func (in *insider) next(buckets ...uint32) coherence.Event {
	return coherence.Event{ID: coherence.EventID{Writer: in.who, Sequence: in.own.Add(1)}, Nonce: random() &^ 1,
		Database: "db", Buckets: buckets}
}

func announcement(e coherence.Event) coherence.Entry { return coherence.Entry{Event: e} }
func settlement(e coherence.Event) coherence.Entry   { return coherence.Entry{Event: e, Settled: true} }

// nextOf is the event that a process will announce next, but over other buckets.
func nextOf(victim *process, buckets ...uint32) coherence.Event {
	victim.driver.Lock()
	defer victim.driver.Unlock()
	id := coherence.EventID{Writer: victim.mesh.Incarnation, Sequence: victim.driver.machine.Counts().Announced + 1}
	return coherence.Event{ID: id, Nonce: random() &^ 1, Database: "db", Buckets: buckets}
}

// bucketOf is the bucket of a key in every process.
func bucketOf(p *process, key string) uint32 { return p.Memory.table.Bucket(cache.Hash([]byte(key))) }

// otherBucket is one in which a key does not lie.
func otherBucket(p *process, key string) uint32 { return bucketOf(p, key) ^ 1 }

// cached makes a process keep a key's value.
func (p *process) cached(key, value string) {
	p.t.Helper()
	p.db.with(func() { p.db.values[key] = value })
	p.readServed(key)
	eventually(p.t, "it is kept", func() bool { n, _ := p.Lookup([]byte(key), make([]byte, 64)); return n >= 0 })
}

// wantTruth checks that a process reads what the database holds.
func wantTruth(t testing.TB, p *process, key, what string) {
	t.Helper()
	if got, want := p.get(key), p.db.get(key); got != want {
		t.Errorf("%s: it read %q, the database holds %q", what, got, want)
	}
}

// wantUnharmed checks what is promised ten seconds after an insider has gone. It waits for longer, because
// no test asserts a time.
func wantUnharmed(t testing.TB, all ...*process) {
	t.Helper()
	together(t, all...)
	for i, p := range all {
		eventually(t, "nothing is in doubt", func() bool {
			p.driver.Lock()
			defer p.driver.Unlock()
			open, buckets, _ := p.driver.machine.Doubt(now())
			return open == 0 && buckets == 0
		})
		key := keyOf(all[0], i)
		p.write(key, time.Now().String(), i%2 == 0)
		for _, reader := range all {
			wantTruth(t, reader, key, "after the insider has gone")
		}
	}
	eventually(t, "all serve all that was written", func() bool {
		for i := range all {
			for _, p := range all {
				if !p.settled(keyOf(all[0], i)) {
					return false
				}
			}
		}
		return true
	})
	versions := func(p *process) uint64 {
		p.driver.Lock()
		defer p.driver.Unlock()
		_, digest := p.driver.machine.Versions()
		return digest
	}
	eventually(t, "all share their versions", func() bool {
		for _, p := range all {
			if versions(p) != versions(all[0]) {
				return false
			}
		}
		return true
	})
}

// views returns how often the members table was read.
func (d *database) views() (n int) {
	d.with(func() { n = d.read })
	return n
}

// allocations returns how many bytes were ever allocated.
func allocations() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

// beginWrite begins a transaction that may commit, and has not yet.
func (p *process) beginWrite(key string) (commit func(value string)) {
	transaction := string(binary.LittleEndian.AppendUint64([]byte("a write "), random()))
	p.db.with(func() { p.db.open[transaction] = true })
	event := p.announce(key)
	return func(value string) {
		p.db.with(func() {
			p.db.values[key] = value
			delete(p.db.open, transaction)
		})
		if err := p.Settle(event, nil); err != nil {
			p.t.Error(err)
		}
	}
}
