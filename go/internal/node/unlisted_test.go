package node

import (
	"strings"
	"testing"
	"time"

	"guillotina_groupcache/internal/transport"
)

// Sessions of processes without a row keep no member out, even if they came first.
func TestAFloodOfUnlistedSessionsKeepsNoMemberOut(t *testing.T) {
	db := newDatabase()
	a, b := open(t, db, settings{"listen": unixAddress(t)}), open(t, db, settings{"listen": unixAddress(t)})
	together(t, a, b)
	var sessions []*transport.Session
	for range 300 {
		sessions = append(sessions, newFakePeer(t, "").dial(t, a))
	}
	eventually(t, "most of the flood is closed", func() bool { return a.mesh.Transport.Stats().Faults[transport.ReasonBusy] >= 300-128 })
	c := open(t, db, settings{"listen": unixAddress(t)})
	together(t, a, b, c)
	for _, p := range []*process{b, c} {
		key := keyOf(a, 0)
		p.write(key, p.mesh.Address, true)
		if got := a.get(key); got != p.mesh.Address {
			t.Errorf("%s reads %q", a.mesh.Address, got)
		}
	}
	if n := a.logLines("connection with"); n > 3 {
		t.Errorf("%d lines for the flood", n)
	}
	_ = sessions
}

// A process without a row loses its session after some leases; one with a row keeps it.
func TestASessionWithoutARowEnds(t *testing.T) {
	db := newDatabase()
	a := open(t, db, settings{"listen": unixAddress(t), "lease": 0.2})
	b := open(t, db, settings{"listen": unixAddress(t), "lease": 0.2})
	together(t, a, b)
	s := newFakePeer(t, "")
	session := s.dial(t, a)
	client := newFakePeer(t, "")
	db.with(func() { db.rows[client.who] = memberRow{Incarnation: client.who, State: "out"} })
	stays := client.dial(t, a)
	wantEnded(t, session, "having no row")
	eventually(t, "it is counted", func() bool { return a.mesh.Transport.Stats().Faults[transport.ReasonUnlisted] == 1 })
	select {
	case <-stays.Done():
		t.Error("a process with a row has lost its session")
	default:
	}
}

// Without a view no process can be seen to have no row.
func TestWithoutAViewNoSessionEnds(t *testing.T) {
	db := newDatabase()
	a := open(t, db, settings{"listen": unixAddress(t), "lease": 0.2})
	eventually(t, "it serves", a.serves)
	resume := a.pausePython()
	session := newFakePeer(t, "").dial(t, a)
	time.Sleep(8 * 200 * time.Millisecond) // leases; after four of them it could be seen to have no row
	select {
	case <-session.Done():
		t.Error("it was closed without a view")
	default:
	}
	resume()
	wantEnded(t, session, "having no row")
}

// A process with the secret can claim any address, and as many as it likes: the log has one line for all.
func TestClaimsOfAddressesDoNotFillTheLog(t *testing.T) {
	own := unixAddress(t)
	p := open(t, newDatabase(), settings{"listen": own, "admit": []string{own}})
	eventually(t, "it serves", p.serves)
	for range 20 {
		claimant := newFakePeer(t, unixAddress(t))
		if _, err := claimant.Bind(); err != nil {
			t.Fatal(err)
		}
		if _, err := claimant.Dial(t.Context(), p.mesh.Address); err == nil || !strings.Contains(err.Error(), "is not in groupcache.peers") {
			t.Errorf("got %v", err)
		}
	}
	eventually(t, "all are counted", func() bool { return p.mesh.Transport.Stats().Faults[transport.ReasonNotAdmitted] == 20 })
	if n := p.logLines("is not in groupcache.peers"); n != 1 {
		t.Errorf("%d lines", n)
	}
}
