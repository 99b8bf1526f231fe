package node

import (
	"context"
	"errors"
	"testing"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/mesh"
	"guillotina_groupcache/internal/transport"
)

// lives checks that processes take part again, and hold no lock.
func lives(t *testing.T, all ...*process) {
	t.Helper()
	together(t, all...)
	for i, p := range all {
		key := keyOf(all[(i+1)%len(all)], 0)
		p.write(key, p.mesh.Address, true)
		for _, other := range all {
			if got := other.get(key); got != p.mesh.Address {
				t.Errorf("after a write of %s %s reads %q", p.mesh.Address, other.mesh.Address, got)
			}
		}
	}
}

// After a panic under the machine it restarts, the caller gets the panic, and commits do not wait.
func TestAPanicUnderTheMachineIsARestart(t *testing.T) {
	t.Parallel()
	db := newDatabase()
	a, b, c := three(t, db)
	event := a.announce("open")
	err := transport.Guard(func() error {
		a.driver.Input(func(*coherence.Machine, coherence.Time) { panic("on purpose") })
		return nil
	})
	var panicked *transport.Panicked
	if !errors.As(err, &panicked) || panicked.Value != "on purpose" {
		t.Errorf("the caller gets %v", err)
	}
	if a.serves() {
		t.Error("it serves on")
	}
	must(t, a.Settle(event, nil))
	lives(t, a, b, c)
}

// A panic in a goroutine of this package ends neither the process nor later tasks.
func TestAPanicOfAGoroutineDoesNotEndTheProcess(t *testing.T) {
	t.Parallel()
	a := cluster(t, newDatabase(), unixAddress(t))[0]
	done := make(chan struct{})
	if !a.tasks.run(func(context.Context) { defer close(done); panic("on purpose") }) {
		t.Fatal("nothing is under way, but the task does not begin")
	}
	<-done
	eventually(t, "it is not under way any more", func() bool { return a.tasks.running.Load() == 0 })
	for range 3 {
		a.driver.InputGuarded(func(*coherence.Machine, coherence.Time) { panic("under the machine") })
	}
	if n := a.logLines("after an error of its own"); n > 1 {
		t.Errorf("%d lines for restarts", n)
	}
	eventually(t, "the log has one line with the stack", func() bool { return a.logLines("panics_test.go") == 1 })
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
	s := newFakePeer(t, "")
	session := s.dial(t, a)
	eventually(t, "there is a session", func() bool { return a.peerCount() == 3 })
	a.driver.Lock()
	machine := a.driver.machine
	a.driver.machine = nil
	a.driver.Unlock()
	must(t, session.Send(mesh.FrameCoherence, (&coherence.Message{Kind: coherence.JoinRequest}).Append(nil)))
	wantEnded(t, session, "a panic")
	eventually(t, "the clock meets it too", func() bool { return a.logLines("error\x00panic: runtime error") == 1 })
	a.driver.Lock()
	if !a.driver.broken {
		t.Error("a machine that cannot restart does not count as broken")
	}
	a.driver.machine = machine
	a.driver.Unlock()
	eventually(t, "it restarts when it can", func() bool {
		a.driver.Lock()
		defer a.driver.Unlock()
		return !a.driver.broken
	})
	lives(t, a, b, c)
	if faults := a.mesh.Transport.Stats().Faults[transport.ReasonPanic]; faults == 0 {
		t.Error("it was not counted")
	}
}

// A panic in an action loses no other action. Database queries are asked again, and an answer to the
// earlier query does not count for the later one.
func TestAPanicInWhatIsDoneLosesNothingElse(t *testing.T) {
	t.Parallel()
	db := newDatabase()
	a, b, c := three(t, db)
	const event, query = 4711, 1 << 40
	a.mu.Lock()
	cleared := a.expect(true, event)
	a.mu.Unlock()
	a.driver.run(func() {
		a.driver.Input(func(*coherence.Machine, coherence.Time) {
			a.queries.Pending[query] = func(*coherence.Machine, coherence.Time, *bridge.Answer) { t.Error("a late answer is taken") }
			a.driver.todo = []coherence.Action{
				{Kind: coherence.Send, To: b.mesh.Incarnation}, // without a message: a panic
				{Kind: coherence.Cleared, Event: coherence.EventID{Writer: a.mesh.Incarnation, Sequence: event}},
			}
		})
	})
	a.await("a commit may be sent", cleared)
	a.Answer(query, []byte("{}"))
	lives(t, a, b, c)
}
