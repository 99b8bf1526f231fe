package node

import (
	"strings"
	"testing"
	"time"

	"guillotina_groupcache/internal/transport"
)

// Sessions of processes that have no row keep no member out, whoever came first.
func TestAFloodOfStrangersKeepsNoMemberOut(t *testing.T) {
	db := newDatabase()
	a, b := open(t, db, settings{"listen": unixAddress(t)}), open(t, db, settings{"listen": unixAddress(t)})
	together(t, a, b)
	var sessions []*transport.Session
	for range 300 {
		sessions = append(sessions, newStranger(t, "").dial(t, a))
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
	if n := a.noted("connection with"); n > 3 {
		t.Errorf("%d lines for the flood", n)
	}
	_ = sessions
}

// Whoever has no row for some leases has no session; who has one keeps it.
func TestASessionWithoutARowEnds(t *testing.T) {
	db := newDatabase()
	a := open(t, db, settings{"listen": unixAddress(t), "lease": 0.2})
	b := open(t, db, settings{"listen": unixAddress(t), "lease": 0.2})
	together(t, a, b)
	s := newStranger(t, "")
	session := s.dial(t, a)
	client := newStranger(t, "")
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

// While nobody can look at the table, nobody can be seen to have no row.
func TestWithoutAViewNoSessionEnds(t *testing.T) {
	db := newDatabase()
	a := open(t, db, settings{"listen": unixAddress(t), "lease": 0.2})
	eventually(t, "it serves", a.serves)
	goOn := a.stall()
	session := newStranger(t, "").dial(t, a)
	time.Sleep(8 * 200 * time.Millisecond) // leases; after four of them it could be seen to have no row
	select {
	case <-session.Done():
		t.Error("it was closed without a view")
	default:
	}
	goOn()
	wantEnded(t, session, "having no row")
}

// Whoever has the secret can claim any address, and as many as it likes: the log tells of the kind.
func TestClaimsOfAddressesDoNotFillTheLog(t *testing.T) {
	own := unixAddress(t)
	p := open(t, newDatabase(), settings{"listen": own, "admit": []string{own}})
	eventually(t, "it serves", p.serves)
	for range 20 {
		claimant := newStranger(t, unixAddress(t))
		if _, err := claimant.Bind(); err != nil {
			t.Fatal(err)
		}
		if _, err := claimant.Dial(t.Context(), p.mesh.Address); err == nil || !strings.Contains(err.Error(), "is not in groupcache.peers") {
			t.Errorf("got %v", err)
		}
	}
	eventually(t, "all are counted", func() bool { return p.mesh.Transport.Stats().Faults[transport.ReasonNotAdmitted] == 20 })
	if n := p.noted("is not in groupcache.peers"); n != 1 {
		t.Errorf("%d lines", n)
	}
}
