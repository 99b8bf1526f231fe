package node

import (
	"fmt"
	"testing"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/mesh"
)

// wantLittle checks that what an attack leaves behind in all processes of the test is bounded.
func wantLittle(t *testing.T, attack func()) {
	t.Helper()
	before := heapInUse()
	attack()
	const most = 24 << 20
	eventually(t, fmt.Sprintf("at most %d bytes are kept", most), func() bool { return heapInUse()-before < most })
}

// Half a million settlements, of as many writers that do not exist.
func TestAnInsiderSettlesForManyWriters(t *testing.T) {
	in, writer, reader, key := attacked(t)
	wantLittle(t, func() {
		for range 500_000 / 40_000 {
			var entries []coherence.Entry
			for range 40_000 {
				entries = append(entries, settlement(coherence.Event{
					ID: coherence.EventID{Writer: coherence.Incarnation(random() | 1), Sequence: 1 << 40}}))
			}
			for _, kind := range []coherence.MessageKind{coherence.Events, coherence.Repair} {
				message := in.entries(entries...)
				message.Kind = kind
				in.say(reader, message)
			}
		}
	})
	overwritten(t, in, writer, reader, key)
}

// In messages that are as small as possible, and more of them than may be open.
func TestAnInsiderOpensManyEvents(t *testing.T) {
	in, writer, reader, key := attacked(t)
	s := in.to(reader)
	for range 200_000 / 50 {
		var entries []coherence.Entry
		for range 50 {
			entries = append(entries, announcement(in.next(uint32(len(entries)))))
		}
		if s.Send(mesh.FrameCoherence, in.entries(entries...).Append(nil)) != nil {
			break
		}
	}
	in.taken(s)
	if open := reader.openEvents(); open > 4096 {
		t.Errorf("%d events are open", open)
	}
	overwritten(t, in, writer, reader, key)
}

func (p *process) openEvents() int {
	p.driver.Lock()
	defer p.driver.Unlock()
	open, _, _ := p.driver.machine.Doubt(now())
	return open
}

// A message of a process without a row makes a process look at the members table, but not every message.
func TestAnInsiderHasTheDatabaseLookedAt(t *testing.T) {
	in, writer, reader, key := attacked(t)
	before := reader.db.views()
	s, probe := in.to(reader), (&coherence.Message{Kind: coherence.Probe, Attempt: 1}).Append(nil)
	for range 20_000 {
		if s.Send(mesh.FrameCoherence, probe) != nil {
			break
		}
	}
	in.taken(s)
	if views := reader.db.views() - before; views > 200 {
		t.Errorf("the members table was read %d times", views)
	}
	overwritten(t, in, writer, reader, key)
}

func TestAnInsiderRequestsManyKeys(t *testing.T) {
	in, writer, reader, key := attacked(t)
	var keys []cache.VersionedKey
	for i := range 300_000 {
		keys = append(keys, cache.VersionedKey{Key: []byte(fmt.Sprint("key ", i)), Version: 8})
	}
	session := in.to(reader)
	if _, err := session.Call(t.Context(), mesh.FrameGet, packKeys(keys)); err == nil {
		t.Error("300,000 keys were answered")
	}
	if n := reader.loaded.Load(); n > 1024 {
		t.Errorf("%d keys were loaded", n)
	}
	wantEnded(t, session, "a request for 300,000 keys")
	overwritten(t, in, writer, reader, key)
}

// One key as often as it fits a request: the answer is bounded before it is made.
func TestAnInsiderRequestsOneKeyManyTimes(t *testing.T) {
	in, writer, reader, key := attacked(t)
	large := keyOf(reader, 1)
	reader.db.with(func() { reader.db.values[large] = string(make([]byte, 2<<20)) })
	reader.readServed(large)
	versioned, _ := reader.Databases.Version([]byte(large))
	keys := []cache.VersionedKey{{Key: []byte("not there"), Version: 8}} // so that it cannot be answered at once
	for range 500 {
		keys = append(keys, versioned)
	}
	session := in.to(reader)
	allocated := allocations()
	if _, err := session.Call(t.Context(), mesh.FrameGet, packKeys(keys)); err != nil {
		t.Error(err)
	}
	if n := allocations() - allocated; n > 128<<20 {
		t.Errorf("%d bytes were allocated for one answer", n)
	}
	overwritten(t, in, writer, reader, key)
}

// A value that is pushed for the event of another writer, or for one that was not announced, is not kept.
func TestAnInsiderPutsValuesOfAnothersEvent(t *testing.T) {
	in, writer, reader, key := attacked(t)
	commit := writer.beginWrite(key)
	e := nextOf(writer)
	in.say(reader, in.entries(announcement(coherence.Event{ID: coherence.EventID{Writer: writer.mesh.Incarnation,
		Sequence: e.ID.Sequence - 1}, Nonce: 2, Database: "db"})))
	for event := range e.ID.Sequence + 2 {
		versioned := cache.VersionedKey{Key: []byte(keyOf(reader, 1)), Version: 8}
		in.send(reader, mesh.FramePut, append(packPut(put{event: event, life: forever, key: versioned}), "false"...))
		if reader.group.Has(versioned) {
			t.Fatalf("a value of event %d was kept", event)
		}
	}
	commit("new")
	overwritten(t, in, writer, reader, key)
}

// The statistics of peers reach Python, and people: only members are asked, and every answer gets the
// form of statistics.
func TestAnInsiderSendsFalseStatistics(t *testing.T) {
	in, writer, reader, key := attacked(t)
	in.taken(in.to(reader))
	for _, answer := range reader.peerStatistics() {
		if answer["incarnation"] != hex(writer.incarnationID()) {
			t.Errorf("a process that is no member was asked for its statistics: %v", answer)
		}
	}
	overwritten(t, in, writer, reader, key)
}
