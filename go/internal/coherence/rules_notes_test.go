package coherence

import (
	"testing"
	"time"
)

// How notes of writes from outside are acknowledged and deleted (R14).

func TestTheRowSaysWhichNotesAreApplied(t *testing.T) {
	b := withNotes(t)
	notes := []*OutsideWrite{named(2, 2), named(1, 1)}
	b.shows(notes, mine(In))
	b.wantIDs("once per view", AcknowledgeOutside, []OutsideID{1, 2})
	b.shows(notes, mine(In, 2))
	b.wantIDs("again, until a view shows it", AcknowledgeOutside, []OutsideID{1, 2})
	b.shows(notes, mine(In, 2, 1))
	b.wantIDs("a view shows it", AcknowledgeOutside)
	b.shows(notes[:1], mine(In, 1, 2))
	b.wantIDs("one was deleted", AcknowledgeOutside, []OutsideID{2})
	b.shows(nil, mine(In, 2))
	b.wantIDs("all were deleted", AcknowledgeOutside, []OutsideID{})
	b.shows(notes, mine(Out))
	b.wantIDs("it is out", AcknowledgeOutside)
}

func TestAProcessWithoutACopySaysNothingOfNotes(t *testing.T) {
	notes := []*OutsideWrite{named(1, 1)}
	b := withNotes(t)
	b.m.join.phase = posting // as if its versions differed from another member's: its row still says in
	b.shows(notes, mine(In))
	b.wantIDs("it joins again", AcknowledgeOutside)
	b.m.join.phase = entering
	b.shows(notes, mine(In))
	b.wantIDs("it may not be admitted", AcknowledgeOutside)
	b.do(func() { b.m.Entered(b.now, true, nil) })
	early := b.now - 1
	b.wait(time.Second)
	b.do(func() {
		b.m.view.asked = early
		b.m.ViewTaken(b.now, early, []Row{mine(Joining)}, nil)
	})
	b.wantIDs("the view is from before it was admitted", AcknowledgeOutside)
	b.shows(notes, mine(In))
	b.wantIDs("it is in", AcknowledgeOutside, []OutsideID{1})
}

func TestANoteIsDeletedWhenEverybodyHasAppliedIt(t *testing.T) {
	notes := []*OutsideWrite{named(1, 1), named(2, 2)}
	overdue := theirs(In, 1, 2)
	overdue.Overdue = true
	for _, c := range []struct {
		what string
		rows []Row
		want [][]OutsideID
	}{
		{"this process's row does not say so", []Row{mine(In), theirs(In, 1, 2)}, nil},
		{"another row does not", []Row{mine(In, 1, 2), theirs(In)}, nil},
		{"one note is applied by both", []Row{mine(In, 1, 2), theirs(In, 2, 5, 5)}, [][]OutsideID{{2}}},
		{"a joiner has applied nothing", []Row{mine(In, 1, 2), theirs(Joining)}, nil},
		{"nor has one that is elected", []Row{mine(In, 1, 2), theirs(Boot)}, nil},
		{"another row says twice what this process's row does not", []Row{mine(In), theirs(In, 1, 1)}, nil},
		{"all are", []Row{mine(In, 1, 2), theirs(In, 2, 1)}, [][]OutsideID{{1, 2}}},
		{"a member whose heartbeat is overdue has applied it too", []Row{mine(In, 1, 2), overdue}, [][]OutsideID{{1, 2}}},
		{"another incarnation is less", []Row{mine(In, 1, 2), {Incarnation: 1, State: In, Applied: []OutsideID{1, 2}}}, nil},
	} {
		b := withNotes(t)
		b.shows(notes, c.rows...)
		b.wantIDs(c.what, ForgetOutside, c.want...)
	}
	b := withNotes(t)
	b.do(func() { b.m.OutsideWrites(1, b.now, nil) })
	b.shows(notes, mine(In, 1, 2), theirs(In, 1, 2))
	for _, a := range b.took(ForgetOutside) {
		if a.Number != 0 {
			t.Errorf("in database %d", a.Number)
		}
	}
	b.do(func() { b.m.ViewTaken(b.now, b.now, []Row{mine(In, 1, 2), theirs(In, 1, 2)}, nil) })
	b.wantIDs("no look has come with this view", ForgetOutside)
}

func TestANoteIsKeptForALeaseAfterSomebodyWasPutOut(t *testing.T) {
	for what, rows := range map[string][]Row{"out": {mine(In, 1), theirs(Out)}, "its row is gone": {mine(In, 1)}} {
		b := withNotes(t)
		notes := []*OutsideWrite{named(1, 1)}
		b.shows(notes, mine(In), theirs(In))
		b.took(ForgetOutside)
		for begin := b.now; ; {
			b.shows(notes, rows...)
			deleted := len(b.took(ForgetOutside)) > 0
			if over := b.now >= begin.Add(b.m.cfg.outlastLease()); deleted != over {
				t.Errorf("%s: deleted %v after %v", what, deleted, time.Duration(b.now-begin))
			} else if over {
				break
			}
			b.wait(100 * time.Millisecond)
		}
	}
	b := withNotes(t)
	b.shows([]*OutsideWrite{named(1, 1)}, mine(In), theirs(In))
	b.do(func() { b.m.Ended(b.now, later) })
	b.shows([]*OutsideWrite{named(1, 1)}, mine(In, 1), theirs(Out))
	b.wantIDs("it is proved to have ended", ForgetOutside, []OutsideID{1})
}

func TestANoteIsKeptForALeaseWhereRowsAreMissing(t *testing.T) {
	b := withNotes(t)
	notes := []*OutsideWrite{named(1, 1)}
	b.do(func() { b.m.Missing(b.now, b.now, 1, 7) })
	b.shows(notes, mine(In, 1))
	b.wantIDs("a row is missing", ForgetOutside)
	for end := b.now.Add(b.m.cfg.outlastLease()); b.now < end; b.wait(time.Second) {
		b.do(func() { b.m.Missing(b.now, b.now, 1, 7) })
		b.shows(notes, mine(In, 1))
		b.wantIDs("a row is missing", ForgetOutside)
	}
	b.shows(notes, mine(In, 1))
	b.wantIDs("for a lease", ForgetOutside, []OutsideID{1})
}

func TestAnOverdueMemberThatReadsNoNotesIsMarkedOut(t *testing.T) {
	b := withNotes(t)
	notes := []*OutsideWrite{named(1, 1)}
	deaf := theirs(In)
	b.shows(notes, mine(In, 1), deaf)
	if len(b.took(MarkOut)) != 0 {
		t.Error("marks out a member whose heartbeat is not overdue")
	}
	deaf.Overdue = true
	b.shows(notes, mine(In, 1), deaf)
	if got := b.took(MarkOut); len(got) != 1 || got[0].To != later || !got[0].IfOverdue {
		t.Errorf("does not mark it out, or does so even if its heartbeat is not overdue: %v", got)
	}
	out := theirs(Out)
	out.Overdue = true
	b.shows(notes, mine(In, 1), out)
	if len(b.took(MarkOut)) != 0 {
		t.Error("marks out a member that is out")
	}
	deaf.Applied = []OutsideID{1}
	b.shows(notes, mine(In, 1), deaf)
	if len(b.took(MarkOut)) != 0 {
		t.Error("marks out a member that has applied all notes")
	}
}

func TestNotesAreRelayedToAMemberThatDoesNotLookAtTheirDatabase(t *testing.T) {
	b := withNotes(t)
	notes := []*OutsideWrite{named(1, 1), all(2)}
	b.do(func() { b.m.Connected(b.now, later) })
	relayed := func() (messages []*Message) {
		for _, a := range b.took(Send) {
			if a.Message.Kind == Outside {
				messages = append(messages, a.Message)
			}
		}
		return messages
	}
	b.shows(notes, mine(In, 1, 2), theirs(In))
	if len(relayed()) > 0 {
		t.Error("relays to a member that may be about to look")
	}
	for end := b.now.Add(b.m.cfg.Lease); b.now < end; b.wait(time.Second) {
		b.shows(notes, mine(In, 1, 2), theirs(In))
		relayed()
	}
	b.shows(notes, mine(In, 1, 2), theirs(In, 1))
	messages := relayed()
	if len(messages) != 1 || len(messages[0].Entries) != 1 {
		t.Fatalf("relays %v", messages)
	}
	b.shows(notes, mine(In, 1, 2), theirs(Out))
	if len(relayed()) > 0 {
		t.Error("relays to a member that is out")
	}
	other := withNotes(t)
	other.shows(nil, mine(In), theirs(In, 1, 2))
	before, _ := other.version(3)
	other.receive(later, messages[0])
	other.receive(later, messages[0])
	if got, _ := other.version(3); got-before != all(2).Nonce {
		t.Errorf("adds %d", got)
	}
	other.shows(nil, mine(In), theirs(In))
	other.wantIDs("a note that was relayed", AcknowledgeOutside, []OutsideID{2})
	other.shows(notes, mine(In, 2), theirs(In))
	other.wantIDs("and a look now", AcknowledgeOutside, []OutsideID{1, 2})
	if got, _ := other.version(3); got-before != all(2).Nonce {
		t.Errorf("applies again what was relayed: %d", got)
	}
	for end := other.now.Add((outsideMemory + 1) * other.m.cfg.Lease); other.now < end; other.wait(time.Second) {
		other.shows(nil, mine(In, 2), theirs(In))
	}
	other.took(AcknowledgeOutside)
	other.shows(nil, mine(In, 2), theirs(In))
	other.wantIDs("long after", AcknowledgeOutside, []OutsideID{})
}

func TestAJoinerAppliesRelayedNotesToItsCopy(t *testing.T) {
	for what, c := range map[string]struct {
		holds []OutsideID
		want  uint64
	}{"the copy lacks it": {nil, 100 + 2}, "the copy holds it": {[]OutsideID{1}, 100}} {
		b := withNotes(t)
		b.shows(nil, mine(In), theirs(In, 1))
		b.do(func() { b.m.join.startOver(b.now) })
		entry := Entry{Event: Event{ID: EventID{Sequence: 1}, Nonce: 2, All: true}}
		b.receive(later, &Message{Kind: Outside, Entries: []Entry{entry}})
		if len(b.m.outside.applied) > 0 {
			t.Errorf("%s: it has no versions yet", what)
		}
		b.do(func() { b.m.enter(b.now, &Snapshot{Epoch: 100, Applied: c.holds}) })
		if got, _ := b.version(0); got != c.want {
			t.Errorf("%s: version %d, want %d", what, got, c.want)
		}
	}
}

func TestAMemberThatIsNotTheLeastActsLater(t *testing.T) {
	b := withNotes(t)
	notes := []*OutsideWrite{named(1, 1)}
	rows := []Row{mine(In, 1), {Incarnation: 1, State: In, Applied: []OutsideID{1}}}
	for end := b.now.Add(2 * b.m.cfg.Lease); b.now < end; b.wait(time.Second) {
		b.shows(notes, rows...)
		b.wantIDs("the other one deletes it", ForgetOutside)
	}
	b.shows(notes, rows...)
	b.wantIDs("the other one does not look at this database", ForgetOutside, []OutsideID{1})
}

func TestAppliedNotesInARowChangeNoMembers(t *testing.T) {
	b := withNotes(t)
	b.shows(nil, mine(In), theirs(In))
	b.took(Members)
	b.shows(nil, mine(In), theirs(In, 1))
	if len(b.took(Members)) != 0 {
		t.Error("reports that the members have changed")
	}
	for what, change := range map[string]func(*Row){
		"address": func(r *Row) { r.Address = "elsewhere" },
		"host":    func(r *Row) { r.Host = "host" },
		"state":   func(r *Row) { r.State = Boot },
		"reason":  func(r *Row) { r.Reason = "why" },
		"overdue": func(r *Row) { r.Overdue = true },
	} {
		row := theirs(In)
		change(&row)
		b.shows(nil, mine(In), theirs(In))
		b.took(Members)
		b.shows(nil, mine(In), row)
		if len(b.took(Members)) == 0 {
			t.Errorf("a change of the %s is not reported", what)
		}
	}
}
