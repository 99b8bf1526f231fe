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

// Half a million, of as many writers that there are not.
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

// In messages as small as they have to be, and after that as many as there may be.
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

// A stranger that speaks has a process look whether it has a row: not for each word.
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

func TestAnInsiderAsksForManyNames(t *testing.T) {
	in, writer, reader, key := attacked(t)
	var names []cache.VersionedKey
	for i := range 300_000 {
		names = append(names, cache.VersionedKey{Key: []byte(fmt.Sprint("name ", i)), Version: 8})
	}
	session := in.to(reader)
	if _, err := session.Call(t.Context(), mesh.FrameGet, packKeys(names)); err == nil {
		t.Error("300,000 names were answered")
	}
	if n := reader.loaded.Load(); n > 1024 {
		t.Errorf("%d keys were loaded", n)
	}
	wantEnded(t, session, "asking for 300,000 names")
	overwritten(t, in, writer, reader, key)
}

// One value as often as a request may name it: the answer is bounded before it is made.
func TestAnInsiderAsksForOneNameManyTimes(t *testing.T) {
	in, writer, reader, key := attacked(t)
	large := keyOf(reader, 1)
	reader.db.with(func() { reader.db.values[large] = string(make([]byte, 2<<20)) })
	reader.readServed(large)
	version, _ := reader.Version([]byte(large))
	names := []cache.VersionedKey{{Key: []byte("not there"), Version: 8}} // so that it cannot be answered at once
	for range 500 {
		names = append(names, cache.VersionedKey{Key: []byte(large), Version: version})
	}
	session := in.to(reader)
	allocated := allocations()
	if _, err := session.Call(t.Context(), mesh.FrameGet, packKeys(names)); err != nil {
		t.Error(err)
	}
	if n := allocations() - allocated; n > 128<<20 {
		t.Errorf("%d bytes were allocated for one answer", n)
	}
	overwritten(t, in, writer, reader, key)
}

// A value that comes for another one's event, or for one that was not announced, is not kept.
func TestAnInsiderPutsValuesOfAnothersEvent(t *testing.T) {
	in, writer, reader, key := attacked(t)
	commit := writer.beginWrite(key)
	e := nextOf(writer)
	in.say(reader, in.entries(announcement(coherence.Event{ID: coherence.EventID{Writer: writer.mesh.Incarnation,
		Sequence: e.ID.Sequence - 1}, Nonce: 2, Database: "db"})))
	for event := range e.ID.Sequence + 2 {
		name := cache.VersionedKey{Key: []byte(keyOf(reader, 1)), Version: 8}
		in.send(reader, mesh.FramePut, append(packPut(put{event: event, life: forever, key: name}), "false"...))
		if reader.group.Has(name) {
			t.Fatalf("a value of event %d was kept", event)
		}
	}
	commit("new")
	overwritten(t, in, writer, reader, key)
}

// What a process tells of itself reaches Python, and people: only members are asked, and what comes
// of their answers has the form of statistics.
func TestAnInsiderTellsFalseStatistics(t *testing.T) {
	in, writer, reader, key := attacked(t)
	in.taken(in.to(reader))
	for _, answer := range reader.peerStatistics() {
		if answer["incarnation"] != hex(writer.incarnationID()) {
			t.Errorf("who is no member was asked for its statistics: %v", answer)
		}
	}
	overwritten(t, in, writer, reader, key)
}
