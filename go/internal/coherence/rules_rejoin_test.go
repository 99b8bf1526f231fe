package coherence

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// How a process that was put out, or is not admitted, joins again (R5).

func TestAProcessThatWasPutOutJoinsAgainWhenAllMembersAnswer(t *testing.T) {
	b := newBench(t)
	a, c := b.join(anna), b.join(berta)
	b.view(In, a, c)
	b.view(Out, a, c)
	probes := b.took(Send)
	b.do(func() { b.m.Tick(b.now) })
	probes = append(probes, b.took(Send)...)
	asked := make(map[Incarnation]uint64)
	for _, p := range probes {
		if p.Message.Kind == Probe {
			asked[p.To] = p.Message.Attempt
		}
	}
	b.receive(anna, &Message{Kind: Alive, Attempt: asked[anna]})
	b.receive(berta, &Message{Kind: Alive, Attempt: asked[berta] - 1})
	if len(b.took(Post)) != 0 {
		t.Error("posted though one member has not answered since")
	}
	b.receive(berta, &Message{Kind: Alive, Attempt: asked[berta]})
	if len(b.took(Post)) != 1 {
		t.Error("did not post though all have answered")
	}
}

func TestAMemberThatIsOverdueOrHasEndedNeedNotAnswer(t *testing.T) {
	b := newBench(t)
	a, c := b.join(anna), b.join(berta)
	a.Overdue = true
	b.view(In, a, c)
	b.view(Out, a, c)
	b.took(Post)
	b.do(func() { b.m.Ended(b.now, berta) })
	if len(b.took(Post)) != 1 {
		t.Error("waits for the answer of a member that cannot give it")
	}
}

func TestAProcessThatIsPutOutAgainAndAgainMakesGrowingPauses(t *testing.T) {
	b := newBench(t)
	a := b.join(anna) // its heartbeat is not overdue, but it never answers
	posted := func() bool {
		b.do(func() { b.m.Tick(b.now) })
		return len(b.took(Post)) == 1
	}
	b.now = b.now.Add(7 * time.Second)
	b.view(Out, a)
	for _, leases := range []time.Duration{2, 4, 8, 8} {
		pause := leases * b.m.cfg.Lease
		b.now = b.now.Add(pause - time.Millisecond)
		if posted() {
			t.Errorf("posted before %v", pause)
		}
		b.now = b.now.Add(time.Millisecond)
		if !posted() {
			t.Errorf("not posted after %v", pause)
		}
		b.do(func() { b.m.Posted(b.now, nil) })
		b.now = b.now.Add(time.Millisecond)
		b.view(Out, a)
	}
}

func TestAProcessThatWaitsToJoinAgainWaitsLongerWhenAnotherIsPutOut(t *testing.T) {
	b := newBench(t)
	a, c := b.join(anna), b.join(berta)
	b.view(Out, a, c)
	b.now = b.now.Add(5 * time.Second)
	a.State = Out // some writer waits a lease for it
	b.view(Out, a, c)
	b.took(Post)
	b.now = b.now.Add(2 * time.Second)
	if b.do(func() { b.m.Tick(b.now) }); len(b.took(Post)) != 0 {
		t.Error("posted during the lease that some writer waits for the other member")
	}
	b.now = b.now.Add(4 * time.Second)
	if b.do(func() { b.m.Tick(b.now) }); len(b.took(Post)) != 1 {
		t.Error("did not post after the pause")
	}
}

func TestWhyNamesTheReasonAndThePeer(t *testing.T) {
	b := newBench(t)
	a := b.join(anna)
	b.view(In, a)
	if why := b.m.Why(b.now); why != "" {
		t.Errorf("it serves, but: %s", why)
	}
	b.do(func() { b.m.ViewTaken(b.now, b.now, nil, errors.New("connection refused")) })
	b.now = b.now.Add(4 * time.Second)
	if why := b.m.Why(b.now); !strings.Contains(why, "4s old: connection refused") {
		t.Errorf("stale: %s", why)
	}
	b.do(func() {
		b.m.ViewTaken(b.now, b.now, []Row{a, {Incarnation: self, State: Out, Reason: "berta: it does not acknowledge"}}, nil)
	})
	if why := b.m.Why(b.now); !strings.Contains(why, "berta: it does not acknowledge") || !strings.Contains(why, "once answered by there") {
		t.Errorf("put out: %s", why)
	}
}

func TestAProcessThatIsNotLetInServesNothingAndTakesNothing(t *testing.T) {
	b := newBench(t)
	a := b.join(anna)
	b.do(func() { b.m.Disconnected(anna) })
	b.view(In, a)
	b.do(func() { b.m.Refused(b.now, anna) })
	b.took(MarkOut)
	b.view(In, a)
	if len(b.took(MarkOut)) != 1 {
		t.Error("stays in because the statement that marks it out was lost")
	}
	b.view(Out, a)
	b.took(Post)
	b.now = b.now.Add(time.Minute)
	if b.do(func() { b.m.Tick(b.now) }); len(b.took(Post)) != 0 {
		t.Error("writes its row as joining though it has a row")
	}
	b.do(func() { b.m.ViewTaken(b.now, b.now, []Row{a}, nil) }) // this process's row was removed
	if len(b.took(Post)) != 1 {
		t.Error("writes no row, and needs one to commit")
	}
	b.do(func() { b.m.Posted(b.now, nil) })
	a.State = Out
	b.view(Joining, a)
	b.wait(10 * time.Second)
	b.view(Joining, a)
	b.wait(time.Second)
	if len(b.took(Elect)) != 0 {
		t.Error("asks to be elected")
	}
	if why := b.m.Why(b.now); !strings.Contains(why, "does not admit this process") {
		t.Errorf("why: %s", why)
	}
	b.do(func() { b.m.Connected(b.now, anna) })
	b.wait(time.Second)
	if len(b.took(Elect)) == 0 {
		t.Error("does not go on when it is admitted")
	}
}
