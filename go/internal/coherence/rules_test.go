package coherence

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// A machine in standing among members that the test plays.
type bench struct {
	t   *testing.T
	now Time
	m   *Machine
	out []Action
}

const self, anna, berta = Incarnation(100), Incarnation(1), Incarnation(2)

func newBench(t *testing.T) *bench {
	b := newJoiner(t, 8)
	b.read(Joining)
	b.do(func() { b.m.Elected(b.now, true, nil, nil) })
	b.do(func() { b.m.OpenTransactions(b.now, "", nil, nil) })
	b.do(func() { b.m.Entered(b.now, true, nil) })
	b.read(In)
	if !b.m.Serves(b.now) {
		t.Fatalf("not in standing: phase %d", b.m.join.phase)
	}
	b.out = nil
	return b
}

// newJoiner is one whose row was just posted.
func newJoiner(t *testing.T, buckets int) *bench {
	b := &bench{t: t, now: Time(time.Hour)}
	nonce := uint64(0)
	b.m = New(Config{
		Incarnation: self, Address: "own", Lease: 3 * time.Second,
		AckTimeout: 100 * time.Millisecond, OrphanAfter: time.Second,
		Random: func() uint64 { nonce += 1 << 20; return nonce },
	}, NewTable(make([]uint64, TableHeader+buckets)), b.now)
	b.m.Serve("db")
	b.do(func() { b.m.Posted(b.now, nil) })
	return b
}

func (b *bench) do(f func()) {
	f()
	b.out = append(b.out, b.m.Actions()...)
}

func (b *bench) wait(d time.Duration) {
	for end := b.now.Add(d); b.now < end; {
		b.now = b.now.Add(10 * time.Millisecond)
		b.do(func() { b.m.Tick(b.now) })
	}
}

func (b *bench) read(state State, rows ...Row) {
	rows = append(rows, Row{Incarnation: self, Address: "own", State: state})
	b.do(func() { b.m.ViewTaken(b.now, b.now, rows, nil) })
}

func (b *bench) join(who Incarnation) Row {
	b.do(func() { b.m.Connected(b.now, who) })
	return Row{Incarnation: who, Address: "there", State: In}
}

// took returns the actions of a kind, and forgets all that were taken so far.
func (b *bench) took(kind ActionKind) []Action {
	found := slices.DeleteFunc(slices.Clone(b.out), func(a Action) bool { return a.Kind != kind })
	b.out = nil
	return found
}

func (b *bench) announce(buckets ...uint32) (id EventID) {
	b.do(func() { id = b.mustAnnounce("db", false, buckets) })
	return id
}

func (b *bench) mustAnnounce(database string, all bool, buckets []uint32) EventID {
	b.t.Helper()
	id, err := b.m.Announce(b.now, database, all, buckets)
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

// receive has the machine hear what an honest peer may say.
func (b *bench) receive(from Incarnation, message *Message) {
	b.t.Helper()
	b.do(func() {
		if err := b.m.Receive(b.now, from, message); err != nil {
			b.t.Error(err)
		}
	})
}

func (b *bench) acknowledge(from Incarnation) {
	var last uint64
	for _, e := range b.m.members.byID[from].log.entries {
		last = e.Number
	}
	b.receive(from, &Message{Kind: Ack, Sequence: last})
}

func (b *bench) hear(from Incarnation, after uint64, entries ...Entry) {
	b.receive(from, &Message{Kind: Events, Sequence: after, Entries: entries})
}

func (b *bench) version(bucket uint32) (uint64, bool) { return b.m.table.Version(bucket) }

func TestACommitWaitsForEveryMember(t *testing.T) {
	b := newBench(t)
	b.read(In, b.join(anna), b.join(berta))
	b.announce(1)
	b.acknowledge(anna)
	if len(b.took(Cleared)) != 0 {
		t.Error("passed before berta had acknowledged")
	}
	b.acknowledge(berta)
	if len(b.took(Cleared)) != 1 {
		t.Error("did not pass when all had acknowledged")
	}
}

func TestAMemberThatAppearsMeanwhileIsAnnouncedTo(t *testing.T) {
	b := newBench(t)
	a := b.join(anna)
	b.read(In, a)
	b.announce(1)
	b.read(In, a, b.join(berta))
	b.acknowledge(anna)
	if len(b.took(Cleared)) != 0 {
		t.Error("passed without berta, who is in the reading")
	}
	b.acknowledge(berta)
	if len(b.took(Cleared)) != 1 {
		t.Error("did not pass")
	}
}

func TestWhoDoesNotAcknowledgeIsMarkedOutAndOutwaited(t *testing.T) {
	b := newBench(t)
	a := b.join(anna)
	b.read(In, a)
	b.announce(1)
	b.took(MarkOut)
	b.wait(150 * time.Millisecond)
	if marks := b.took(MarkOut); len(marks) != 1 || marks[0].To != anna {
		t.Fatalf("marked out: %v", marks)
	}
	a.State = Out
	b.read(In, a)
	for range 29 {
		b.wait(100 * time.Millisecond)
		b.read(In, a)
	}
	if len(b.took(Cleared)) != 0 {
		t.Error("passed before a lease was over")
	}
	b.wait(300 * time.Millisecond)
	b.read(In, a)
	if len(b.took(Cleared)) != 1 {
		t.Error("did not pass after a lease")
	}
	b.announce(2)
	if len(b.took(Cleared)) != 1 {
		t.Error("one that has been out for a lease still costs something")
	}
}

func TestWhoIsProvedToHaveEndedCostsNoWait(t *testing.T) {
	b := newBench(t)
	b.read(In, b.join(anna))
	b.announce(1)
	b.do(func() { b.m.Ended(b.now, anna) })
	if len(b.took(Cleared)) != 1 {
		t.Error("waits for one that has ended")
	}
}

func TestACommitNeedsAFreshReadingWithTheOwnRow(t *testing.T) {
	b := newBench(t)
	b.now = b.now.Add(4 * time.Second)
	b.announce(1)
	if len(b.took(Cleared)) != 0 {
		t.Error("passed with a reading older than a lease")
	}
	b.do(func() { b.m.ViewTaken(b.now, b.now, nil, nil) })
	if len(b.took(Cleared)) != 0 {
		t.Error("passed with a reading that lacks the own row")
	}
	b.read(In)
	if len(b.took(Cleared)) != 1 {
		t.Error("did not pass with a fresh reading")
	}
}

func TestWhoHasLeftCommitsAndServesNothingMore(t *testing.T) {
	b := newBench(t)
	b.read(In, b.join(anna))
	b.announce(1)
	b.do(func() { b.m.Leave(b.now) })
	if len(b.took(Remove)) != 1 || b.m.table.Deadline() != 0 {
		t.Error("still serves, or keeps its row")
	}
	b.acknowledge(anna)
	if len(b.took(Cleared)) != 0 {
		t.Error("a commit passed after leaving")
	}
}

func TestWhoIsPutOutJoinsAgainWhenEverybodyAnswers(t *testing.T) {
	b := newBench(t)
	a, c := b.join(anna), b.join(berta)
	b.read(In, a, c)
	b.read(Out, a, c)
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
		t.Error("posted though one has not answered since")
	}
	b.receive(berta, &Message{Kind: Alive, Attempt: asked[berta]})
	if len(b.took(Post)) != 1 {
		t.Error("did not post though all have answered")
	}
}

func TestWhoIsSilentOrHasEndedNeedNotAnswer(t *testing.T) {
	b := newBench(t)
	a, c := b.join(anna), b.join(berta)
	a.Overdue = true
	b.read(In, a, c)
	b.read(Out, a, c)
	b.took(Post)
	b.do(func() { b.m.Ended(b.now, berta) })
	if len(b.took(Post)) != 1 {
		t.Error("waits for the answer of one that cannot give it")
	}
}

func TestWhoIsPutOutAgainAndAgainMakesGrowingPauses(t *testing.T) {
	b := newBench(t)
	a := b.join(anna) // alive by the table, but never answers
	posted := func() bool {
		b.do(func() { b.m.Tick(b.now) })
		return len(b.took(Post)) == 1
	}
	b.now = b.now.Add(7 * time.Second)
	b.read(Out, a)
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
		b.read(Out, a)
	}
}

func TestWhoWaitsToJoinAgainWaitsLongerWhenAnotherOneIsPutOut(t *testing.T) {
	b := newBench(t)
	a, c := b.join(anna), b.join(berta)
	b.read(Out, a, c)
	b.now = b.now.Add(5 * time.Second)
	a.State = Out // somebody waits a lease for it
	b.read(Out, a, c)
	b.took(Post)
	b.now = b.now.Add(2 * time.Second)
	if b.do(func() { b.m.Tick(b.now) }); len(b.took(Post)) != 0 {
		t.Error("posted into the lease that somebody waits for another one")
	}
	b.now = b.now.Add(4 * time.Second)
	if b.do(func() { b.m.Tick(b.now) }); len(b.took(Post)) != 1 {
		t.Error("did not post after the pause")
	}
}

func TestWhoseRowIsGoneCountsAsOutForALease(t *testing.T) {
	b := newBench(t)
	b.read(In, b.join(anna))
	b.read(In) // somebody has deleted its row; it may not know yet
	b.announce(1)
	if len(b.took(Cleared)) != 0 {
		t.Error("passed though one that may still serve was not told")
	}
	for range 32 {
		b.wait(100 * time.Millisecond)
		b.read(In)
	}
	if len(b.took(Cleared)) != 1 {
		t.Error("did not pass after a lease")
	}
	if len(b.m.Rows()) != 0 {
		t.Error("still counts as a member")
	}
}

func TestWhoNeverHadARowIsForgottenAtOnce(t *testing.T) {
	b := newBench(t)
	b.do(func() { b.m.Connected(b.now, anna) })
	b.receive(anna, &Message{Kind: Probe})
	b.read(In)
	b.announce(1)
	if len(b.took(Cleared)) != 1 {
		t.Error("waits for one that is no member")
	}
}

func TestWhyNamesTheReasonAndThePeer(t *testing.T) {
	b := newBench(t)
	a := b.join(anna)
	b.read(In, a)
	if why := b.m.Why(b.now); why != "" {
		t.Errorf("in standing, but: %s", why)
	}
	b.do(func() { b.m.ViewTaken(b.now, b.now, nil, errors.New("connection refused")) })
	b.now = b.now.Add(4 * time.Second)
	if why := b.m.Why(b.now); !strings.Contains(why, "4s old: connection refused") {
		t.Errorf("stale: %s", why)
	}
	b.do(func() {
		b.m.ViewTaken(b.now, b.now, []Row{a, {Incarnation: self, State: Out, Reason: "berta: it does not acknowledge"}}, nil)
	})
	if why := b.m.Why(b.now); !strings.Contains(why, "berta: it does not acknowledge") || !strings.Contains(why, "when these answer: there") {
		t.Errorf("put out: %s", why)
	}
}

func TestNothingIsServedAfterTheLeaseOrWhenOut(t *testing.T) {
	b := newBench(t)
	if b.m.table.Deadline() != b.now.Add(3*time.Second) {
		t.Errorf("deadline is %d at %d", b.m.table.Deadline(), b.now)
	}
	b.do(func() { b.m.ViewTaken(b.now, b.now, nil, errors.New("the database does not answer")) })
	if b.m.table.Deadline() != b.now.Add(3*time.Second) {
		t.Error("a failed reading changed the deadline")
	}
	b.read(Out)
	if b.m.table.Deadline() != 0 {
		t.Error("serves though it is out")
	}
}

func TestAnAnnouncedBucketIsInDoubtUntilSettledAndThenRenamed(t *testing.T) {
	b := newBench(t)
	before, _ := b.version(1)
	id := b.announce(1)
	if _, ok := b.version(1); ok {
		t.Error("not in doubt after the announcement")
	}
	if _, ok := b.version(2); !ok {
		t.Error("another bucket is in doubt")
	}
	b.do(func() { b.m.Settle(b.now, id) })
	after, ok := b.version(1)
	if !ok || after == before {
		t.Errorf("version %d after the settlement, %d before; out of doubt: %v", after, before, ok)
	}
	b.do(func() { b.m.Settle(b.now, id) })
	if again, _ := b.version(1); again != after {
		t.Error("settled twice, renamed twice")
	}
}

func TestAnEventOverAllPutsEverythingInDoubtAndRenamesIt(t *testing.T) {
	b := newBench(t)
	before, _ := b.version(3)
	var id EventID
	b.do(func() { id = b.mustAnnounce("db", true, nil) })
	if _, ok := b.version(3); ok {
		t.Error("not in doubt")
	}
	b.do(func() { b.m.Settle(b.now, id) })
	if after, ok := b.version(3); !ok || after == before {
		t.Error("not renamed")
	}
}

func TestOnlyAnUntouchedBucketMayBePushed(t *testing.T) {
	other := func(n uint64, settled bool, buckets ...uint32) Entry {
		return Entry{n, Event{ID: EventID{anna, n}, Nonce: 2, Database: "db", Buckets: buckets}, settled}
	}
	for name, test := range map[string]struct {
		before, meanwhile []Entry
		want              []uint32
	}{
		"alone":                      {want: []uint32{1, 2}},
		"announced meanwhile":        {meanwhile: []Entry{other(1, false, 2)}, want: []uint32{1}},
		"settled meanwhile":          {meanwhile: []Entry{other(1, true, 2)}, want: []uint32{1}},
		"open before":                {before: []Entry{other(1, false, 2)}, want: []uint32{1}},
		"open before, then settled":  {before: []Entry{other(1, false, 2)}, meanwhile: []Entry{{2, other(1, true, 2).Event, true}}, want: []uint32{1}},
		"settled before":             {before: []Entry{other(1, true, 2)}, want: []uint32{1, 2}},
		"everything settled between": {meanwhile: []Entry{{1, Event{ID: EventID{anna, 1}, Nonce: 2, Database: "db", All: true}, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.read(In, b.join(anna))
			b.hear(anna, 0, test.before...)
			id := b.announce(1, 2)
			b.hear(anna, uint64(len(test.before)), test.meanwhile...)
			var got []uint32
			b.do(func() { got = b.m.Settle(b.now, id) })
			if !slices.Equal(got, test.want) {
				t.Errorf("pushable %v, want %v", got, test.want)
			}
		})
	}
}

func TestAnEventOverTooManyBucketsIsOverAll(t *testing.T) {
	b := newBench(t)
	buckets := make([]uint32, maxBuckets+1)
	for i := range buckets {
		buckets[i] = uint32(i)
	}
	id := b.announce(buckets...)
	if e := b.m.events.open[id].event; !e.All || len(e.Buckets) != 0 {
		t.Errorf("all: %v, with %d buckets", e.All, len(e.Buckets))
	}
	if _, ok := b.version(7); ok {
		t.Error("not everything is in doubt")
	}
}

func TestEntriesAreTakenOnceAndNotAfterAGap(t *testing.T) {
	b := newBench(t)
	b.read(In, b.join(anna))
	e := Event{ID: EventID{anna, 1}, Nonce: 2, Database: "db", Buckets: []uint32{1}}
	b.hear(anna, 0, Entry{5, e, false}, Entry{6, e, true})
	once, _ := b.version(1)
	b.hear(anna, 0, Entry{5, e, false}, Entry{6, e, true})
	if again, ok := b.version(1); again != once || !ok {
		t.Error("a repeated frame was taken again")
	}
	b.took(Send)
	b.hear(anna, 9, Entry{10, Event{ID: EventID{anna, 2}, Nonce: 2, Database: "db", Buckets: []uint32{1}}, false})
	if _, ok := b.version(1); !ok || len(b.took(Send)) != 0 {
		t.Error("an entry after a gap was taken or acknowledged")
	}
}

func TestAnOrphanStaysInDoubtUntilTheDatabaseSaysItIsOver(t *testing.T) {
	b := newBench(t)
	row := b.join(anna)
	b.read(In, row)
	b.hear(anna, 0, Entry{1, Event{ID: EventID{anna, 1}, Nonce: 2, Database: "db", Buckets: []uint32{1}}, false})
	refresh := func(d time.Duration) {
		b.wait(d)
		b.read(In, row)
	}
	refresh(1500 * time.Millisecond)
	if asked := b.took(OpenTransactions); len(asked) != 1 || asked[0].Database != "db" {
		t.Fatalf("asked %v", asked)
	}
	b.do(func() { b.m.OpenTransactions(b.now, "db", []string{"7", "8"}, nil) })
	refresh(time.Second)
	b.do(func() { b.m.OpenTransactions(b.now, "db", []string{"8", "9"}, nil) })
	if _, ok := b.version(1); ok {
		t.Error("settled while a transaction open at its arrival is still open")
	}
	refresh(time.Second)
	b.do(func() { b.m.OpenTransactions(b.now, "db", []string{"9"}, nil) })
	if _, ok := b.version(1); !ok {
		t.Error("not settled when it was over")
	}
}

func TestAnOwnOrphanOfNoDatabaseInParticularAsksThemAll(t *testing.T) {
	b := newBench(t)
	var id EventID
	if _, err := b.m.Announce(b.now, "", true, nil); err == nil {
		t.Error("announced to members, each of which would end its session")
	}
	b.m.cfg.Alone = true
	b.do(func() { id = b.mustAnnounce("", true, nil) })
	b.do(func() { b.m.Lost(id) })
	b.wait(time.Second)
	if asked := b.took(OpenTransactions); len(asked) != 1 || asked[0].Database != "" {
		t.Fatalf("asked %v", asked)
	}
	b.do(func() { b.m.OpenTransactions(b.now, "", nil, nil) })
	if _, ok := b.version(1); !ok {
		t.Error("not settled when it was over")
	}
}

func TestALostAnswerIsAnOrphanAtHome(t *testing.T) {
	b := newBench(t)
	id := b.announce(1)
	b.wait(2 * time.Second)
	if b.read(In); len(b.took(OpenTransactions)) != 0 {
		t.Error("an own event that goes well was taken for an orphan")
	}
	b.do(func() { b.m.Lost(id) })
	b.wait(time.Second)
	if len(b.took(OpenTransactions)) != 1 {
		t.Error("the database was not asked")
	}
	b.do(func() { b.m.OpenTransactions(b.now, "db", nil, nil) })
	if _, ok := b.version(1); !ok {
		t.Error("not settled when it was over")
	}
}

func TestAStarvedProcessBlamesNobody(t *testing.T) {
	b := newBench(t)
	b.read(In, b.join(anna))
	b.announce(1)
	b.now = b.now.Add(time.Second) // no tick for so long
	b.do(func() { b.m.Tick(b.now) })
	if len(b.took(MarkOut)) != 0 {
		t.Error("marked out another though it was itself that stood still")
	}
}

func TestAFullLogMarksOutAndIsNeverAcknowledged(t *testing.T) {
	b := newBench(t)
	a := b.join(anna)
	b.read(In, a)
	for range maxLog/2 + 1 {
		b.do(func() { b.m.Settle(b.now, b.mustAnnounce("db", false, []uint32{1})) })
	}
	b.took(Cleared)
	b.announce(2)
	b.acknowledge(anna)
	if len(b.took(Cleared)) != 0 {
		t.Error("what was dropped counts as acknowledged")
	}
	if b.m.members.byID[anna].markedAt == 0 {
		t.Error("not marked out")
	}
}

func TestWhoIsNotLetInServesNothingAndTakesNothing(t *testing.T) {
	b := newBench(t)
	a := b.join(anna)
	b.do(func() { b.m.Disconnected(anna) })
	b.read(In, a)
	b.do(func() { b.m.Refused(b.now, anna) })
	b.took(MarkOut)
	b.read(In, a)
	if len(b.took(MarkOut)) != 1 {
		t.Error("stays in because the statement that marked it out was lost")
	}
	b.read(Out, a)
	b.took(Post)
	b.now = b.now.Add(time.Minute)
	if b.do(func() { b.m.Tick(b.now) }); len(b.took(Post)) != 0 {
		t.Error("puts itself forward though it has a row")
	}
	b.do(func() { b.m.ViewTaken(b.now, b.now, []Row{a}, nil) }) // which was removed
	if len(b.took(Post)) != 1 {
		t.Error("has no row to write by")
	}
	b.do(func() { b.m.Posted(b.now, nil) })
	a.State = Out
	b.read(Joining, a)
	b.wait(10 * time.Second)
	b.read(Joining, a)
	b.wait(time.Second)
	if len(b.took(Elect)) != 0 {
		t.Error("asks to be elected")
	}
	if why := b.m.Why(b.now); !strings.Contains(why, "does not let this process in") {
		t.Errorf("why: %s", why)
	}
	b.do(func() { b.m.Connected(b.now, anna) })
	b.wait(time.Second)
	if len(b.took(Elect)) == 0 {
		t.Error("does not go on when it is let in")
	}
}
