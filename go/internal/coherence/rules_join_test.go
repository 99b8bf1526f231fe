package coherence

import (
	"testing"
	"time"
)

// How a process joins (R5, R7), and which members count as ended (R3).

func (b *bench) joins() Row {
	b.do(func() { b.m.Connected(b.now, anna) })
	return Row{Incarnation: anna, Address: "there", State: Joining}
}

func TestAJoinAcknowledgementIsGivenByAViewBegunAfterTheRequest(t *testing.T) {
	b := newBench(t)
	a := b.joins()
	begun := b.now
	b.now = b.now.Add(time.Millisecond)
	b.receive(anna, &Message{Kind: JoinRequest, Attempt: 3})
	b.now = b.now.Add(time.Millisecond)
	view := func(asked Time) (acks int) {
		b.took(Send)
		rows := []Row{a, {Incarnation: self, Address: "own", State: In}}
		b.do(func() { b.m.ViewTaken(b.now, asked, rows, nil) })
		for _, sent := range b.took(Send) {
			if sent.Message.Kind == JoinAck && sent.To == anna && sent.Message.Attempt == 3 {
				acks++
			}
		}
		return acks
	}
	if view(begun) != 0 {
		t.Error("given by a view that was under way when it was asked for")
	}
	if view(b.now) != 1 {
		t.Error("not given by a view begun later")
	}
}

// putOutAndBack returns a bench that has served, was put out, and has all acknowledgements again before the
// deadline has passed that it has shown to readers.
func putOutAndBack(t *testing.T, others ...Row) *bench {
	b := newBench(t)
	b.view(Out, others...)
	b.wait(100 * time.Millisecond)
	b.do(func() { b.m.join.advance(b.now) })
	b.m.join.retryAt = b.now // it pauses; what it waits for here is the deadline
	b.do(func() { b.m.Tick(b.now) })
	b.do(func() { b.m.Posted(b.now, nil) })
	b.view(Joining, others...)
	for _, p := range others {
		b.receive(p.Incarnation, &Message{Kind: JoinAck, Attempt: b.m.join.attempt})
	}
	if b.m.join.phase != copying || b.now > b.m.view.lastDeadline {
		t.Fatalf("phase %d, with the deadline at %d, now %d", b.m.join.phase, b.m.view.lastDeadline, b.now)
	}
	return b
}

// passDeadline lets the deadline pass that readers were shown.
func (b *bench) passDeadline(rows ...Row) {
	for b.now <= b.m.view.lastDeadline {
		b.wait(100 * time.Millisecond)
		b.view(Joining, rows...)
	}
	b.wait(retry)
	b.view(Joining, rows...)
}

func (b *bench) requests() (n int) {
	for _, sent := range b.took(Send) {
		if sent.Message.Kind == CopyRequest {
			n++
		}
	}
	return n
}

func TestNoCopyIsAskedForBeforeTheLastDeadlineHasPassed(t *testing.T) {
	a := Row{Incarnation: anna, Address: "there", State: In}
	b := putOutAndBack(t, a)
	b.do(func() { b.m.Connected(b.now, anna) })
	b.wait(retry)
	if b.requests() != 0 {
		t.Error("asks for a copy while a reader may still use the old table")
	}
	if b.passDeadline(a); b.requests() == 0 {
		t.Error("asks for none after it")
	}
}

func TestNoCopyIsTakenBeforeTheLastDeadlineHasPassed(t *testing.T) {
	a := Row{Incarnation: anna, Address: "there", State: In}
	b := putOutAndBack(t, a)
	before, _ := b.version(1)
	comes := func() {
		b.receive(anna, &Message{Kind: Copy, Attempt: b.m.join.attempt, State: &Snapshot{Epoch: 1 << 40}})
	}
	b.m.join.copyRequests[anna] = struct{}{}
	comes()
	if after, _ := b.version(1); after != before || len(b.took(Enter)) != 0 {
		t.Error("taken while a reader may still use the old table")
	}
	b.passDeadline(a)
	comes()
	if after, _ := b.version(1); after != 1<<40 || len(b.took(Enter)) != 1 {
		t.Error("not taken after it")
	}
}

func TestNobodyAsksToBeElectedBeforeTheLastDeadlineHasPassed(t *testing.T) {
	b := putOutAndBack(t)
	if b.wait(retry); len(b.took(Elect)) != 0 {
		t.Error("asks while a reader may still use the old table")
	}
	if b.passDeadline(); len(b.took(Elect)) == 0 {
		t.Error("does not ask after it")
	}
}

func TestNobodyBootsBeforeTheLastDeadlineHasPassed(t *testing.T) {
	b := putOutAndBack(t)
	before, _ := b.version(1)
	b.do(func() { b.m.Elected(b.now, true, nil, nil) })
	answer := func() { b.do(func() { b.m.OpenTransactions(b.now, "", nil, nil) }) }
	answer()
	if after, _ := b.version(1); after != before || len(b.took(Enter)) != 0 {
		t.Error("begins with a new epoch while a reader may still use the old table")
	}
	b.passDeadline()
	answer()
	if after, _ := b.version(1); after == before || len(b.took(Enter)) != 1 {
		t.Error("does not begin after it")
	}
}

func TestAMemberThatIsConnectedAgainHasNotEnded(t *testing.T) {
	b := newBench(t)
	a := b.join(anna)
	b.view(In, a)
	b.do(func() { b.m.Ended(b.now, anna) })
	b.do(func() { b.m.Connected(b.now, anna) })
	b.view(In, a)
	b.announce(1)
	if len(b.took(Cleared)) != 0 {
		t.Error("cleared without a member that is alive")
	}
	if b.acknowledge(anna); len(b.took(Cleared)) != 1 {
		t.Error("not cleared when it had acknowledged")
	}
}

func TestAMemberThatHasSaidByeIsNotWaitedForEvenIfConnected(t *testing.T) {
	b := newBench(t)
	a := b.join(anna)
	b.view(In, a)
	b.receive(anna, &Message{Kind: Bye})
	b.announce(1)
	if b.view(In, a); len(b.took(Cleared)) != 0 {
		t.Error("believes a bye though the row is there")
	}
	b.now = b.now.Add(time.Millisecond)
	if b.view(In); len(b.took(Cleared)) != 1 {
		t.Error("waits for a member that has left")
	}
	b.do(func() { b.m.Connected(b.now, anna) })
	b.announce(2)
	if len(b.took(Cleared)) != 1 {
		t.Error("waits for a member that has left and is still connected")
	}
}

func TestAByeIsNotBelievedByAViewThatBeganBefore(t *testing.T) {
	b := newBench(t)
	b.view(In, b.join(anna))
	begun := b.now
	b.now = b.now.Add(time.Millisecond)
	b.receive(anna, &Message{Kind: Bye})
	b.announce(1)
	own := Row{Incarnation: self, Address: "own", State: In}
	b.do(func() { b.m.ViewTaken(b.now, begun, []Row{own}, nil) })
	if len(b.took(Cleared)) != 0 {
		t.Error("that view may have missed the row")
	}
	if b.view(In); len(b.took(Cleared)) != 1 {
		t.Error("waits for a member that has left")
	}
}

func TestAMemberThatHasSaidByeAndIsOutIsNotWaitedFor(t *testing.T) {
	b := newBench(t)
	a := b.join(anna)
	b.view(In, a)
	b.receive(anna, &Message{Kind: Bye})
	b.announce(1)
	a.State = Out
	if b.view(In, a); len(b.took(Cleared)) != 1 {
		t.Error("waits a lease for a member that serves nothing any more")
	}
	b.do(func() { b.m.Connected(b.now, anna) })
	b.announce(2)
	if len(b.took(Cleared)) != 1 {
		t.Error("waits for it when it is connected again")
	}
}
