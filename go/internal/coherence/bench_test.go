package coherence

import (
	"slices"
	"testing"
	"time"
)

// bench is a machine that serves, among members that the test plays.
type bench struct {
	t   *testing.T
	now Time
	m   *Machine
	out []Action
}

const self, anna, berta = Incarnation(100), Incarnation(1), Incarnation(2)

func newBench(t *testing.T) *bench {
	b := newJoiner(t, 8)
	b.view(Joining)
	b.do(func() { b.m.Elected(b.now, true, nil, nil) })
	b.do(func() { b.m.OpenTransactions(b.now, "", nil, nil) })
	b.do(func() { b.m.Entered(b.now, true, nil) })
	b.view(In)
	if !b.m.Serves(b.now) {
		t.Fatalf("it does not serve: phase %d", b.m.join.phase)
	}
	b.out = nil
	return b
}

// newJoiner returns a bench whose row was just written as joining.
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

func (b *bench) view(state State, rows ...Row) {
	rows = append(rows, Row{Incarnation: self, Address: "own", State: state})
	b.do(func() { b.m.ViewTaken(b.now, b.now, rows, nil) })
}

func (b *bench) join(peer Incarnation) Row {
	b.do(func() { b.m.Connected(b.now, peer) })
	return Row{Incarnation: peer, Address: "there", State: In}
}

// took returns the actions of a kind, and forgets all actions so far.
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

// receive has the machine receive a message that an honest peer may send.
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
