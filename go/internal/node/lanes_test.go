package node

import (
	"context"
	"errors"
	"testing"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// laneTo waits for a lane to an owner, other than one that there was.
func laneTo(t *testing.T, from, to *process, other *transport.Lane) (lane *transport.Lane) {
	t.Helper()
	eventually(t, "a lane", func() bool {
		lane = from.lanes.to(to.address)
		return lane != nil && lane != other
	})
	return lane
}

func TestASingleNameIsAskedForOverALane(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	lane := laneTo(t, a, b, nil)
	if a.lineTo(b.address) != line(lane) {
		t.Fatal("there is a lane, and it is not taken")
	}
	for i, source := range []cache.Source{cache.Database, cache.Peer} {
		key := keyOf(b, i)
		db.with(func() { db.values[key] = "v" })
		if source == cache.Peer {
			b.read(key)
		}
		wantResult(t, a.read(key)[0], source, "v")
	}
}

func TestWithoutALaneTheSessionIsAskedAndALaneIsMadeAnew(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	lane := laneTo(t, a, b, nil)
	lane.Close(nil)
	eventually(t, "the lane is forgotten", func() bool { return a.lanes.to(b.address) != lane })
	key := keyOf(b, 0)
	db.with(func() { db.values[key] = "v" })
	wantResult(t, a.read(key)[0], cache.Database, "v")
	laneTo(t, a, b, lane)
	key = keyOf(b, 1)
	db.with(func() { db.values[key] = "w" })
	wantResult(t, a.read(key)[0], cache.Database, "w")
}

func TestWhoWaitsAtALaneThatEndsIsAnswered(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	lane := laneTo(t, a, b, nil)
	key := keyOf(b, 0)
	db.with(func() { db.values[key] = "v" })
	goOn := b.stall()
	answer := a.begin(key)
	lane.Close(nil)
	goOn()
	results, err := unpackResults(a.await("the read", answer))
	if err != nil || len(results) != 1 || string(results[0].Value) != "v" {
		t.Errorf("%v, %v", results, err)
	}
}

func TestALaneGoesWithItsOwner(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	lane := laneTo(t, a, b, nil)
	b.end()
	<-lane.Done()
	eventually(t, "the lane is forgotten", func() bool { return a.lanes.to(b.address) == nil })
}

// nothing is the handler of a peer that only talks.
type nothing struct{}

func (nothing) Up(*transport.Session)                                                        {}
func (nothing) Down(*transport.Session, error)                                               {}
func (nothing) Message(*transport.Session, transport.FrameKind, []byte)                      {}
func (nothing) Request(*transport.Session, transport.FrameKind, []byte, func([]byte, error)) {}

func TestALaneIsNoLinkAndBringsNoMessages(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	talker, err := transport.New(transport.Options{
		Identity: b.identity, Self: transport.Peer{Lane: true}, Handler: nothing{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer talker.Close()
	a.Node.mu.Lock()
	before := len(a.links[b.incarnation].sessions)
	a.Node.mu.Unlock()
	s, err := talker.Dial(context.Background(), a.address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Call(context.Background(), frameGet, packNames([]cache.VersionedKey{{Key: []byte("k")}})); err != nil {
		t.Errorf("a question over a lane: %v", err)
	}
	a.Node.mu.Lock()
	after := len(a.links[b.incarnation].sessions)
	a.Node.mu.Unlock()
	if after != before {
		t.Errorf("%d sessions of the link, %d before there was a lane", after, before)
	}
	body := packPut(put{event: 1, life: forever, name: cache.VersionedKey{Key: []byte("k")}})
	if err := s.Send(framePut, body, []byte("v")); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
}

// A lane that is dropped late leaves the one that has taken its place.
func TestALaneThatEndsLeavesTheNextOne(t *testing.T) {
	var l lanes
	first, next := new(transport.Lane), new(transport.Lane)
	l.put("a:1", first)
	l.put("a:1", next)
	l.drop("a:1", first)
	if l.to("a:1") != next {
		t.Error("the next one is forgotten")
	}
	l.drop("a:1", next)
	if l.to("a:1") != nil {
		t.Error("it is kept")
	}
}

// Another process that answers at a member's address is neither asked nor told anything.
func TestAnotherProcessAtAnAddressIsNotTheMember(t *testing.T) {
	a, b, _ := three(t, newDatabase())
	row := coherence.Row{Incarnation: b.incarnation + 2, Address: b.address}
	if session, err := a.dial(t.Context(), row); !errors.Is(err, errOther) {
		t.Errorf("a session, %v, %v", session, err)
	}
	if lane, err := a.dialLane(t.Context(), row); !errors.Is(err, errOther) {
		t.Errorf("a lane, %v, %v", lane, err)
	}
}
