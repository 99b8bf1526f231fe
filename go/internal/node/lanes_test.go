package node

import (
	"context"
	"testing"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/mesh"
	"guillotina_groupcache/internal/transport"
)

// laneTo waits for a lane to an owner, other than one that there was.
func laneTo(t *testing.T, from, to *process, other *transport.Lane) (lane *transport.Lane) {
	t.Helper()
	eventually(t, "a lane", func() bool {
		lane = from.mesh.Lanes.To(to.mesh.Address)
		return lane != nil && lane != other
	})
	return lane
}

func TestASingleNameIsAskedForOverALane(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	lane := laneTo(t, a, b, nil)
	if a.peers().callerTo(b.mesh.Address) != caller(lane) {
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
	eventually(t, "the lane is forgotten", func() bool { return a.mesh.Lanes.To(b.mesh.Address) != lane })
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
	resume := b.pausePython()
	answer := a.begin(key)
	lane.Close(nil)
	resume()
	results, err := bridge.UnpackResults(a.await("the read", answer))
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
	eventually(t, "the lane is forgotten", func() bool { return a.mesh.Lanes.To(b.mesh.Address) == nil })
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
		Identity: b.mesh.Options.Transport.Identity, Self: transport.Peer{Lane: true}, Handler: nothing{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer talker.Close()
	a.driver.Lock()
	before := len(a.mesh.Peers[b.mesh.Incarnation].Sessions)
	a.driver.Unlock()
	s, err := talker.Dial(context.Background(), a.mesh.Address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Call(context.Background(), mesh.FrameGet, packKeys([]cache.VersionedKey{{Key: []byte("k")}})); err != nil {
		t.Errorf("a request over a lane: %v", err)
	}
	a.driver.Lock()
	after := len(a.mesh.Peers[b.mesh.Incarnation].Sessions)
	a.driver.Unlock()
	if after != before {
		t.Errorf("%d sessions, %d before there was a lane", after, before)
	}
	body := packPut(put{event: 1, life: forever, key: cache.VersionedKey{Key: []byte("k")}})
	if err := s.Send(mesh.FramePut, body, []byte("v")); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
}
