package node

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"guillotina_groupcache/internal/coherence"
)

// Of two sessions between two processes each side sends over the one that it has opened.
func TestASessionThatWasOpenedHereIsPreferred(t *testing.T) {
	a, b, c := three(t, newDatabase())
	for _, p := range []*process{a, b, c} {
		eventually(t, "it sends over its own sessions", func() bool {
			p.driver.Lock()
			defer p.driver.Unlock()
			for _, l := range p.mesh.Peers {
				if len(l.Sessions) != 2 || !l.Current.Outgoing() {
					return false
				}
			}
			return len(p.mesh.Peers) == 2
		})
	}
}

func TestAMemberThatIsNotListedAnyMoreIsNotDialled(t *testing.T) {
	dialling := func() int {
		stacks := make([]byte, 1<<20)
		return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), ".keepDialling(")
	}
	db := newDatabase()
	unanswered := unansweredAddress(t)
	cluster(t, db, unixAddress(t))
	eventually(t, "no member is dialled", func() bool { return dialling() == 0 })
	const ghost = 12345
	db.with(func() { db.rows[ghost] = memberRow{Incarnation: ghost, Address: unanswered, State: "out"} })
	eventually(t, "it is dialled", func() bool { return dialling() == 1 })
	db.with(func() { delete(db.rows, ghost) })
	eventually(t, "it is dialled no more", func() bool { return dialling() == 0 })
}

// The machine takes a connected member for alive, and sends it events.
func TestTheMachineLearnsThatASessionHasEnded(t *testing.T) {
	db := newDatabase()
	p := cluster(t, db, unixAddress(t))[0]
	s := newFakePeer(t, "")
	session, client := s.dial(t, p), coherence.Incarnation(s.who)
	db.with(func() { db.rows[s.who] = memberRow{Incarnation: s.who, State: "in"} })
	eventually(t, "it is a member with a session", func() bool { return len(p.rows()) == 1 && p.peerCount() == 1 })
	// announced reports whether an event is announced to the client; the machine's other actions are lost.
	announced := func() (found bool) {
		p.driver.Lock()
		defer p.driver.Unlock()
		p.driver.machine.Announce(now(), "db", false, []uint32{1})
		for _, action := range p.driver.machine.Actions() {
			found = found || action.Kind == coherence.Send && action.To == client
		}
		return found
	}
	if !announced() {
		t.Error("nothing is announced to a connected member")
	}
	session.Close(nil)
	eventually(t, "its session is forgotten", func() bool { return p.peerCount() == 0 })
	if announced() {
		t.Error("an event is announced to a member that is not connected")
	}
}

func TestAMemberThatIsNotAdmittedOwnsNothing(t *testing.T) {
	db := newDatabase()
	address, rejected := tcpAddress(t), tcpAddress(t)
	p := open(t, db, with(at(address), settings{"admit": []string{address}}))
	eventually(t, "it serves", p.serves)
	const ghost = 12345
	db.with(func() { db.rows[ghost] = memberRow{Incarnation: ghost, Address: rejected, State: "in"} })
	eventually(t, "it is a member", func() bool { return len(p.rows()) == 1 })
	if slices.Contains(p.owners(), rejected) || p.peerCount() != 0 {
		t.Errorf("the ring is %v, and it has %d peers", p.owners(), p.peerCount())
	}
}

// A message that a session cannot take is sent again over the next session.
func TestASessionThatCannotTakeAMessageIsEnded(t *testing.T) {
	p := cluster(t, newDatabase(), unixAddress(t))[0]
	s := newFakePeer(t, "")
	session, client := s.dial(t, p), coherence.Incarnation(s.who)
	eventually(t, "there is a session", func() bool { return p.peerCount() == 1 })
	event := coherence.Event{Database: strings.Repeat("too large", 4<<20)}
	p.driver.Lock()
	p.mesh.Send(client, &coherence.Message{Kind: coherence.Events, Entries: []coherence.Entry{{Event: event}}})
	p.driver.Unlock()
	wantEnded(t, session, "a message that it cannot take")
}
