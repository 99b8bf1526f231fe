package node

import (
	"errors"
	"math"
	"strings"
	"sync"
	"testing"

	"guillotina_groupcache/internal/coherence"
)

// A copy that was not requested would make a joiner believe that the writer's events are all over.
func TestAnInsiderSendsACopyThatWasNotRequested(t *testing.T) {
	t.Parallel() // it waits
	db := newDatabase()
	short := settings{"lease": 0.6}
	writer := open(t, db, with(settings{"listen": unixAddress(t)}, short))
	together(t, writer)
	resume := hold(writer) // the process that is asked takes its time
	defer resume()
	reader := open(t, db, with(settings{"listen": unixAddress(t)}, short))
	eventually(t, "it wants a copy", func() bool { return strings.Contains(why(reader), "to copy from") })
	in := newInsider(t, "")
	for attempt := range uint64(8) {
		in.say(reader, &coherence.Message{Kind: coherence.Copy, Attempt: attempt, State: &coherence.Snapshot{Epoch: 2,
			Settled: map[coherence.Incarnation]coherence.SettledBy{writer.mesh.Incarnation: {Through: 1 << 40}}}})
	}
	resume()
	together(t, writer, reader)
	key := keyOf(reader, 0)
	reader.cached(key, "old")
	overwritten(t, in, writer, reader, key)
}

// hold stops a process from handling messages and views until resume is called.
func hold(p *process) (resume func()) {
	p.driver.Lock()
	return sync.OnceFunc(p.driver.Unlock)
}

func why(p *process) string {
	p.driver.Lock()
	defer p.driver.Unlock()
	return p.driver.machine.Why(now())
}

// A member that believed in other versions than its own would join again, as often as an insider likes.
func TestAnInsiderSendsOtherVersions(t *testing.T) {
	in, writer, reader, _ := attacked(t)
	for range 20 {
		// Nothing is settled yet, so that it lacks nothing.
		in.say(reader, &coherence.Message{Kind: coherence.Digest, Sequence: random(), State: &coherence.Snapshot{}})
		if !reader.serves() {
			t.Fatal("it does not serve, because of what an insider has sent")
		}
	}
	in.Close()
	wantUnharmed(t, writer, reader)
}

// A copy costs milliseconds and megabytes: only members get one, when they join.
func TestAnInsiderAsksForCopies(t *testing.T) {
	in, writer, reader, key := attacked(t)
	overwritten(t, newInsider(t, ""), writer, reader, key)
	in.say(reader, &coherence.Message{Kind: coherence.CopyRequest, Attempt: 1})
	if in.given.Load() != nil {
		t.Error("a process without a row was given a copy")
	}
}

// It cannot acknowledge what it was never sent.
func TestAnInsiderAcknowledgesWhatIsToCome(t *testing.T) {
	in, writer, reader, key := attacked(t)
	if in.say(writer, &coherence.Message{Kind: coherence.Ack, Sequence: math.MaxUint64}) {
		t.Error("a session that acknowledges what it was never sent goes on")
	}
	overwritten(t, in, writer, reader, key)
}

// A bye counts only for the process that says it.
func TestAnInsiderSaysBye(t *testing.T) {
	in, writer, reader, key := attacked(t)
	for _, p := range []*process{writer, reader} {
		in.say(p, &coherence.Message{Kind: coherence.Bye})
	}
	overwritten(t, in, writer, reader, key)
}

// An insider may listen at the address of a member that has crashed: its refusals do not count as the
// member's. Its text is a part of one line of the log, whatever it contains.
func TestAnInsiderRefusesInTheNameOfAMember(t *testing.T) {
	t.Parallel() // it waits
	address := unixAddress(t)
	in := newInsider(t, address)
	refusal := errors.New("no\nerror: the database is lost \x1b[2J")
	in.refusal.Store(&refusal)
	if err := in.Listen(); err != nil {
		t.Fatal(err)
	}
	p := cluster(t, newDatabase(), unixAddress(t))[0]
	const crashed = 4711
	p.db.with(func() { p.db.rows[crashed] = memberRow{Incarnation: crashed, Address: address, State: "in"} })
	eventually(t, "the log says that the member cannot be reached", func() bool { return p.logLines("cannot be reached") > 0 })
	if !p.serves() || p.logLines("does not admit this process") > 0 {
		t.Error("it bypasses because another process than the member has refused it")
	}
	p.logged.Range(func(line, _ any) bool {
		if text := line.(string); strings.ContainsAny(text, "\n\x1b") {
			t.Errorf("a line of the log: %q", text)
		}
		return true
	})
	p.db.with(func() { delete(p.db.rows, crashed) })
	in.Close()
	wantUnharmed(t, p)
}
