package coherence

import (
	"testing"
	"time"
)

// How long a commit waits, and for which members (R3).

func TestACommitWaitsForEveryMember(t *testing.T) {
	b := newBench(t)
	b.view(In, b.join(anna), b.join(berta))
	b.announce(1)
	b.acknowledge(anna)
	if len(b.took(Cleared)) != 0 {
		t.Error("cleared before berta had acknowledged")
	}
	b.acknowledge(berta)
	if len(b.took(Cleared)) != 1 {
		t.Error("not cleared when all had acknowledged")
	}
}

func TestAMemberThatAppearsMeanwhileIsAnnouncedTo(t *testing.T) {
	b := newBench(t)
	a := b.join(anna)
	b.view(In, a)
	b.announce(1)
	b.view(In, a, b.join(berta))
	b.acknowledge(anna)
	if len(b.took(Cleared)) != 0 {
		t.Error("cleared without berta, which the view shows")
	}
	b.acknowledge(berta)
	if len(b.took(Cleared)) != 1 {
		t.Error("not cleared")
	}
}

func TestAMemberThatDoesNotAcknowledgeIsMarkedOutAndOutwaited(t *testing.T) {
	b := newBench(t)
	a := b.join(anna)
	b.view(In, a)
	b.announce(1)
	b.took(MarkOut)
	b.wait(150 * time.Millisecond)
	if marks := b.took(MarkOut); len(marks) != 1 || marks[0].To != anna {
		t.Fatalf("marked out: %v", marks)
	}
	a.State = Out
	b.view(In, a)
	for range 29 {
		b.wait(100 * time.Millisecond)
		b.view(In, a)
	}
	if len(b.took(Cleared)) != 0 {
		t.Error("cleared before a lease was over")
	}
	b.wait(300 * time.Millisecond)
	b.view(In, a)
	if len(b.took(Cleared)) != 1 {
		t.Error("not cleared after a lease")
	}
	b.announce(2)
	if len(b.took(Cleared)) != 1 {
		t.Error("a member that has been out for a lease still costs time")
	}
}

func TestAMemberThatHasProvablyEndedCostsNoWait(t *testing.T) {
	b := newBench(t)
	b.view(In, b.join(anna))
	b.announce(1)
	b.do(func() { b.m.Ended(b.now, anna) })
	if len(b.took(Cleared)) != 1 {
		t.Error("waits for a member that has ended")
	}
}

func TestACommitNeedsAFreshViewWithTheOwnRow(t *testing.T) {
	b := newBench(t)
	b.now = b.now.Add(4 * time.Second)
	b.announce(1)
	if len(b.took(Cleared)) != 0 {
		t.Error("cleared with a view older than a lease")
	}
	b.do(func() { b.m.ViewTaken(b.now, b.now, nil, nil) })
	if len(b.took(Cleared)) != 0 {
		t.Error("cleared with a view that lacks this process's row")
	}
	b.view(In)
	if len(b.took(Cleared)) != 1 {
		t.Error("not cleared with a fresh view")
	}
}

func TestAProcessThatHasLeftCommitsAndServesNothing(t *testing.T) {
	b := newBench(t)
	b.view(In, b.join(anna))
	b.reachDatabase()
	b.announce(1)
	b.do(func() { b.m.Leave(b.now) })
	if len(b.took(Remove)) != 1 || b.m.table.DatabaseDeadline(0) != 0 {
		t.Error("still serves, or keeps its row")
	}
	b.acknowledge(anna)
	if len(b.took(Cleared)) != 0 {
		t.Error("a commit was cleared after leaving")
	}
}

func TestAMemberWhoseRowIsGoneCountsAsOutForALease(t *testing.T) {
	b := newBench(t)
	b.view(In, b.join(anna))
	b.view(In) // somebody has deleted its row, and it may not know that yet
	b.announce(1)
	if len(b.took(Cleared)) != 0 {
		t.Error("cleared though a member that may still serve has not acknowledged")
	}
	for range 32 {
		b.wait(100 * time.Millisecond)
		b.view(In)
	}
	if len(b.took(Cleared)) != 1 {
		t.Error("not cleared after a lease")
	}
	if len(b.m.Rows()) != 0 {
		t.Error("still counts as a member")
	}
}

func TestAProcessThatNeverHadARowIsForgottenAtOnce(t *testing.T) {
	b := newBench(t)
	b.do(func() { b.m.Connected(b.now, anna) })
	b.receive(anna, &Message{Kind: Probe})
	b.view(In)
	b.announce(1)
	if len(b.took(Cleared)) != 1 {
		t.Error("waits for a process that is no member")
	}
}

func TestAProcessThatStoodStillMarksNobodyOut(t *testing.T) {
	b := newBench(t)
	b.view(In, b.join(anna))
	b.announce(1)
	b.now = b.now.Add(time.Second) // no tick for so long
	b.do(func() { b.m.Tick(b.now) })
	if len(b.took(MarkOut)) != 0 {
		t.Error("marked out a member, though it was this process that stood still")
	}
}

func TestAFullLogMarksOutAndIsNeverAcknowledged(t *testing.T) {
	b := newBench(t)
	a := b.join(anna)
	b.view(In, a)
	for range maxLog/2 + 1 {
		b.do(func() { b.m.Settle(b.now, b.mustAnnounce("db", false, []uint32{1})) })
	}
	b.took(Cleared)
	b.announce(2)
	b.acknowledge(anna)
	if len(b.took(Cleared)) != 0 {
		t.Error("an entry that was dropped counts as acknowledged")
	}
	if b.m.members.byID[anna].markedAt == 0 {
		t.Error("not marked out")
	}
}
