package node

import (
	"errors"
	"math"
	"strings"
	"sync"
	"testing"

	"guillotina_groupcache/internal/coherence"
)

// A copy that nobody has asked for would have a joiner believe that the writer's events are all over.
func TestAnInsiderGivesACopyThatNobodyAskedFor(t *testing.T) {
	t.Parallel() // it waits
	db := newDatabase()
	short := settings{"lease": 0.6}
	writer := open(t, db, with(settings{"listen": unixAddress(t)}, short))
	together(t, writer)
	goOn := hold(writer) // the one that is asked takes its time
	defer goOn()
	reader := open(t, db, with(settings{"listen": unixAddress(t)}, short))
	eventually(t, "it wants a copy", func() bool { return strings.Contains(why(reader), "to copy from") })
	in := newInsider(t, "")
	for attempt := range uint64(8) {
		in.say(reader, &coherence.Message{Kind: coherence.Copy, Attempt: attempt, State: &coherence.Snapshot{Epoch: 2,
			Settled: map[coherence.Incarnation]coherence.SettledBy{writer.mesh.Incarnation: {Through: 1 << 40}}}})
	}
	goOn()
	together(t, writer, reader)
	key := keyOf(reader, 0)
	reader.cached(key, "old")
	overwritten(t, in, writer, reader, key)
}

// hold has a process do nothing about messages and views until goOn is called.
func hold(p *process) (goOn func()) {
	p.driver.Lock()
	return sync.OnceFunc(p.driver.Unlock)
}

func why(p *process) string {
	p.driver.Lock()
	defer p.driver.Unlock()
	return p.driver.machine.Why(now())
}

// A member that is told of other versions than its own would join again, as often as it is told so.
func TestAnInsiderTellsOfOtherVersions(t *testing.T) {
	in, writer, reader, _ := attacked(t)
	for range 20 {
		// Nothing is settled yet, so that it lacks nothing.
		in.say(reader, &coherence.Message{Kind: coherence.Digest, Sequence: random(), State: &coherence.Snapshot{}})
		if !reader.serves() {
			t.Fatal("it does not serve, because of what an insider has told")
		}
	}
	in.Close()
	wantUnharmed(t, writer, reader)
}

// A copy costs milliseconds, and megabytes: it is for members, who ask for one when they join.
func TestAnInsiderAsksForCopies(t *testing.T) {
	in, writer, reader, key := attacked(t)
	overwritten(t, newInsider(t, ""), writer, reader, key)
	in.say(reader, &coherence.Message{Kind: coherence.CopyRequest, Attempt: 1})
	if in.given.Load() != nil {
		t.Error("a process without a row was given a copy")
	}
}

// It cannot acknowledge what it was never told, nor speak of what does not concern it.
func TestAnInsiderAcknowledgesWhatIsToCome(t *testing.T) {
	in, writer, reader, key := attacked(t)
	if in.say(writer, &coherence.Message{Kind: coherence.Ack, Sequence: math.MaxUint64}) {
		t.Error("a session that acknowledges what it was never told goes on")
	}
	overwritten(t, in, writer, reader, key)
}

// Whoever says bye, or is said to refuse somebody, speaks for itself.
func TestAnInsiderSaysBye(t *testing.T) {
	in, writer, reader, key := attacked(t)
	for _, p := range []*process{writer, reader} {
		in.say(p, &coherence.Message{Kind: coherence.Bye})
	}
	overwritten(t, in, writer, reader, key)
}

// Where a member was that has crashed an insider may listen: it refuses nobody in the member's name.
// What it says is a part of one line of the log, whatever it looks like.
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
	eventually(t, "the log says that the member cannot be reached", func() bool { return logged(p, "cannot be reached") })
	if !p.serves() || logged(p, "does not let this process in") {
		t.Error("it stands aside because another process than the member has refused it")
	}
	p.notes.Range(func(line, _ any) bool {
		if text := line.(string); strings.ContainsAny(text, "\n\x1b") {
			t.Errorf("a line of the log: %q", text)
		}
		return true
	})
	p.db.with(func() { delete(p.db.rows, crashed) })
	in.Close()
	wantUnharmed(t, p)
}

func logged(p *process, part string) (found bool) {
	p.notes.Range(func(line, _ any) bool {
		found = found || strings.Contains(line.(string), part)
		return !found
	})
	return found
}
