package node

import (
	"context"
	"errors"
	"testing"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// lives checks that a process takes part again, and holds no lock.
func lives(t *testing.T, all ...*process) {
	t.Helper()
	together(t, all...)
	for i, p := range all {
		key := keyOf(all[(i+1)%len(all)], 0)
		p.write(key, p.address, true)
		for _, other := range all {
			if got := other.get(key); got != p.address {
				t.Errorf("after a write of %s %s reads %q", p.address, other.address, got)
			}
		}
	}
}

// A panic under the machine: it restarts, whoever has called is told, and commits wait for nothing.
func TestAPanicUnderTheMachineIsARestart(t *testing.T) {
	t.Parallel()
	db := newDatabase()
	a, b, c := three(t, db)
	event := a.announce("open")
	err := transport.Guard(func() error {
		a.input(func(*coherence.Machine, coherence.Time) { panic("on purpose") })
		return nil
	})
	var panicked *transport.Panicked
	if !errors.As(err, &panicked) || panicked.Value != "on purpose" {
		t.Errorf("who has called gets %v", err)
	}
	if a.serves() {
		t.Error("it serves on")
	}
	must(t, a.Settle(event, nil))
	lives(t, a, b, c)
}

// What runs in a goroutine of this package ends neither the process nor what comes after it.
func TestAPanicOfAGoroutineDoesNotEndTheProcess(t *testing.T) {
	t.Parallel()
	a := cluster(t, newDatabase(), unixAddress(t))[0]
	done := make(chan struct{})
	if !a.work(func(context.Context) { defer close(done); panic("on purpose") }) {
		t.Fatal("nothing is under way, and it does not begin")
	}
	<-done
	eventually(t, "it is not under way any more", func() bool { return a.reads.Load() == 0 })
	for range 3 {
		a.inputGuarded(func(*coherence.Machine, coherence.Time) { panic("under the machine") })
	}
	if n := a.noted("after an error of its own"); n > 1 {
		t.Errorf("%d lines for restarts", n)
	}
	eventually(t, "the log has one line with the stack", func() bool { return a.noted("panics_test.go") == 1 })
	eventually(t, "it serves again", a.serves)
	a.write("k", "v", true)
	if got := a.get("k"); got != "v" {
		t.Errorf("got %q", got)
	}
}

// A message that panics ends its session, and leaves nothing half changed.
func TestAPanicOfAMessageEndsItsSession(t *testing.T) {
	t.Parallel()
	db := newDatabase()
	a, b, c := three(t, db)
	s := newStranger(t, "")
	session := s.dial(t, a)
	eventually(t, "there is a session", func() bool { return a.linkCount() == 3 })
	a.Node.mu.Lock()
	machine := a.machine
	a.machine = nil
	a.Node.mu.Unlock()
	must(t, session.Send(frameCoherence, (&coherence.Message{Kind: coherence.JoinRequest}).Append(nil)))
	wantEnded(t, session, "a panic")
	eventually(t, "the clock meets it too", func() bool { return a.noted("error\x00panic: runtime error") == 1 })
	a.Node.mu.Lock()
	if !a.broken {
		t.Error("a machine that cannot restart does not count as broken")
	}
	a.machine = machine
	a.Node.mu.Unlock()
	eventually(t, "it restarts when it can", func() bool {
		a.Node.mu.Lock()
		defer a.Node.mu.Unlock()
		return !a.broken
	})
	lives(t, a, b, c)
	if faults := a.transport.Stats().Faults[transport.ReasonPanic]; faults == 0 {
		t.Error("it was not counted")
	}
}

// What else was to be done waits for nothing; what was asked of the database is asked again, and an
// answer to the earlier question is none to the later.
func TestAPanicInWhatIsDoneLosesNothingElse(t *testing.T) {
	t.Parallel()
	db := newDatabase()
	a, b, c := three(t, db)
	const event, question = 4711, 1 << 40
	a.mu.Lock()
	passed := a.expect(true, event)
	a.mu.Unlock()
	a.guarded(func() {
		a.locked(func() {
			a.pending[question] = func(*coherence.Machine, coherence.Time, answer) { t.Error("a late answer is taken") }
			a.todo = []coherence.Action{
				{Kind: coherence.Send, To: b.incarnation}, // without a message: a panic
				{Kind: coherence.Cleared, Event: coherence.EventID{Writer: a.incarnation, Sequence: event}},
			}
		})
	})
	a.await("a commit may be sent", passed)
	must(t, a.Answer(question, []byte("{}")))
	lives(t, a, b, c)
}
