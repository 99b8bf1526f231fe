package coherence

import (
	"reflect"
	"strings"
	"testing"
)

func messages() []*Message {
	e := Event{ID: EventID{7, 3}, Nonce: 1 << 40, Database: "db", Buckets: []uint32{1, 5, 7}}
	all := Event{ID: EventID{1 << 63, 1 << 40}, Nonce: 2, All: true}
	return []*Message{
		{Kind: Events, Sequence: 9, Entries: []Entry{{10, e, false}, {12, all, true}}},
		{Kind: Ack, Sequence: 12},
		{Kind: JoinRequest, Attempt: 3},
		{Kind: JoinAck, Attempt: 3},
		{Kind: CopyRequest, Attempt: 4},
		{Kind: Copy, Attempt: 4, State: &Snapshot{
			Epoch: 4, Buckets: map[uint32]uint64{0: 2, 7: 1 << 50},
			Open: []Event{e}, Recent: []Event{all, e},
			Bumped:  []Event{all},
			Settled: map[Incarnation]SettledBy{7: {Through: 2, Skipped: 1, Above: []uint64{5, 9}}},
			Applied: []OutsideID{3, 1 << 58},
			Relayed: []Event{{ID: EventID{Sequence: 3}, Nonce: 2, Buckets: []uint32{1}}},
		}},
		{Kind: Digest, Attempt: 1, State: &Snapshot{Settled: map[Incarnation]SettledBy{}}},
		{Kind: Repair, Entries: []Entry{{0, e, true}}},
		{Kind: Bye},
		{Kind: Probe, Attempt: 3},
		{Kind: Alive, Attempt: 3},
	}
}

func TestMessagesAreDecodedAsTheyWereEncoded(t *testing.T) {
	for _, m := range messages() {
		got, err := Decode(m.Append(nil), 8)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("kind %d: %+v, %v; want %+v", m.Kind, got, err, m)
		}
	}
}

func TestCutOrLongMessagesAreRefused(t *testing.T) {
	for _, m := range messages() {
		b := m.Append(nil)
		for n := range b {
			if _, err := Decode(b[:n], 8); err == nil {
				t.Errorf("kind %d cut to %d of %d bytes was taken", m.Kind, n, len(b))
			}
		}
		if _, err := Decode(append(b, 0), 8); err == nil {
			t.Errorf("kind %d with a byte more was taken", m.Kind)
		}
	}
}

func manySettled(n int) map[Incarnation]SettledBy {
	settled := make(map[Incarnation]SettledBy, n)
	for writer := range n {
		settled[Incarnation(writer+1)] = SettledBy{}
	}
	return settled
}

func TestMessagesThatNoMachineSendsAreRefused(t *testing.T) {
	for what, e := range map[string]Event{
		"an odd nonce":          {Nonce: 3},
		"a bucket out of range": {Nonce: 2, Buckets: []uint32{8}},
		"a bucket twice":        {Nonce: 2, Buckets: []uint32{1, 1}},
		"buckets not in order":  {Nonce: 2, Buckets: []uint32{2, 1}},
	} {
		m := &Message{Kind: Events, Entries: []Entry{{1, e, false}}}
		if _, err := Decode(m.Append(nil), 8); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	for what, m := range map[string]*Message{
		"too many entries":           {Kind: Events, Entries: make([]Entry, entriesInMessage+1)},
		"a long id of a database":    {Kind: Events, Entries: []Entry{{1, Event{Database: strings.Repeat("d", MaxDatabaseID+1)}, false}}},
		"all buckets, and some":      {Kind: Events, Entries: []Entry{{1, Event{All: true, Buckets: []uint32{1}}, false}}},
		"a state where none belongs": {Kind: Events, State: &Snapshot{}},
		"versions in a digest":       {Kind: Digest, State: &Snapshot{Buckets: map[uint32]uint64{1: 2}}},
		"buckets in a digest":        {Kind: Digest, State: &Snapshot{Open: []Event{{Buckets: []uint32{1}}}}},
		"too many settled events":    {Kind: Digest, State: &Snapshot{Settled: map[Incarnation]SettledBy{1: {Above: make([]uint64, maxAbove+1)}}}},
		"too many writers":           {Kind: Digest, State: &Snapshot{Settled: manySettled(maxSettledWriters + 1)}},
	} {
		if _, err := Decode(m.Append(nil), 8); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	if _, err := Decode((&Message{Kind: Digest, State: &Snapshot{Settled: manySettled(maxSettledWriters)}}).Append(nil), 8); err != nil {
		t.Error("as many writers as there may be are refused")
	}
	notes := &Message{Kind: Digest, State: &Snapshot{Applied: []OutsideID{2, 1}}}
	if _, err := Decode(notes.Append(nil), 8); err == nil {
		t.Error("notes that are not in order were taken")
	}
	if _, err := Decode((&Message{Kind: Outside + 1}).Append(nil), 8); err == nil {
		t.Error("an unknown kind was taken")
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		f.Add(m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b, 8)
		if err != nil {
			return
		}
		again, err := Decode(m.Append(nil), 8)
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%+v was written and read as %+v, %v", m, again, err)
		}
	})
}
