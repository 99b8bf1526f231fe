package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"guillotina_groupcache/internal/coherence"
)

func TestAProcessThatIsKilledHoldsNobodyUp(t *testing.T) {
	db := newDatabase()
	a, b, c := three(t, db)
	a.end()
	for i := range 5 {
		for _, p := range []*process{b, c} {
			p.write("k", fmt.Sprint(i), true)
			for _, reader := range []*process{b, c} {
				if got := reader.get("k"); got != fmt.Sprint(i) {
					t.Errorf("got %q after write %d", got, i)
				}
			}
		}
	}
	eventually(t, "it is marked out", func() bool { return db.row(a.incarnationID()).State == "out" })
	eventually(t, "its keys have other owners", func() bool { return len(b.Node.ringNow()) == 1 && len(c.Node.ringNow()) == 1 })
	together(t, b, c)
}

// ringNow returns the addresses of the other owners.
func (n *Node) ringNow() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.ring)
}

func TestWhoLeavesIsNotWaitedFor(t *testing.T) {
	db := newDatabase()
	a, b, c := three(t, db)
	a.Leave()
	eventually(t, "its row is gone", func() bool { return db.row(a.incarnationID()).State == "" })
	if n, _ := a.Lookup([]byte("k"), nil); n != Bypass {
		t.Errorf("who has left serves: %d", n)
	}
	b.write("k", "v", true)
	a.end()
	c.write("k", "w", true)
	if got := b.get("k"); got != "w" {
		t.Errorf("got %q", got)
	}
	eventually(t, "nothing is kept of it", func() bool { return b.linkCount() == 1 && c.linkCount() == 1 })
}

func TestARestartAtTheSameAddress(t *testing.T) {
	db := newDatabase()
	for _, address := range []func(testing.TB) string{unixAddress, tcpAddress} {
		first := cluster(t, db, address(t), address(t))
		stays, goes := first[0], first[1]
		goes.end()
		again := open(t, db, at(goes.address))
		together(t, stays, again)
		eventually(t, "the earlier one is out", func() bool { return db.row(goes.incarnationID()).State == "out" })
		if slices.Contains(again.ringNow(), again.address) {
			t.Error("it is on its own ring as another one")
		}
		stays.write("k", address(t), false)
		if got := again.get("k"); got != db.get("k") {
			t.Errorf("got %q, want %q", got, db.get("k"))
		}
		again.Node.mu.Lock()
		if again.links[again.incarnation] != nil {
			t.Error("it keeps a link to itself")
		}
		again.Node.mu.Unlock()
		stays.end()
		again.end()
		db.with(func() { clear(db.rows) })
	}
}

func TestJoiningLate(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	a.write("k", "v", true)
	d := open(t, db, settings{"listen": unixAddress(t)})
	eventually(t, "it is in standing", d.serves)
	eventually(t, "the others ask it", func() bool { return b.reaches() == 3 })
	b.write("k", "w", true)
	if got := d.get("k"); got != "w" {
		t.Errorf("got %q", got)
	}
}

// A row whose process never answers: the listener takes no connection out of its backlog, so
// nothing proves that it is gone.
func TestARowThatNeverAnswers(t *testing.T) {
	db := newDatabase()
	silent := silentAddress(t)
	all := cluster(t, db, unixAddress(t))
	p := all[0]
	before := p.linkCount()
	const ghost = 12345
	db.with(func() { db.rows[ghost] = memberRow{Incarnation: ghost, Address: silent, State: "in"} })
	eventually(t, "it is dialled", func() bool { return p.linkCount() == before+1 })
	p.write("k", "v", true) // is marked out, and waited for, for a lease
	if got := p.get("k"); got != "v" {
		t.Errorf("got %q", got)
	}
	if state := db.row(ghost).State; state != "out" {
		t.Errorf("it is %q", state)
	}
	db.with(func() { delete(db.rows, ghost) })
	eventually(t, "nothing is kept of it", func() bool { return p.linkCount() == before })
}

func TestRowsThatMakeNoSense(t *testing.T) {
	db := newDatabase()
	all := cluster(t, db, unixAddress(t))
	p := all[0]
	db.with(func() { db.rows[7] = memberRow{Incarnation: 7, State: "nonsense"} })
	eventually(t, "a view leaves it out, as if somebody had deleted it", func() bool { return p.noted("rows are missing in the members table (1)") == 1 })
	p.write("k", "v", true)
	if got := p.get("k"); got != "v" || !p.serves() {
		t.Errorf("got %q, and it serves: %v", got, p.serves())
	}
	if err := p.Answer(1<<40, []byte("not JSON")); err != nil {
		t.Error(err)
	}
}

func TestAnAddressOfAnotherSystemIsNotDialled(t *testing.T) {
	here := strings.Fields(thisHost())
	n := &Node{host: thisHost()}
	otherName := strings.Join([]string{"name", here[1], here[2]}, " ")
	otherNetwork := strings.Join([]string{"name", here[1], "net:[1]"}, " ")
	otherBoot := "name boot net:[1]"
	for _, c := range []struct {
		address, host string
		may           bool
	}{
		{"unix:/run/x", thisHost(), true}, {"unix:/run/x", otherName, true}, {"unix:/run/x", otherNetwork, true},
		{"unix:/run/x", otherBoot, false}, {"unix:/run/x", "", true}, {"unix:/run/x", "name", false},
		{"127.0.0.1:1", otherName, true}, {"127.0.0.1:1", otherNetwork, false}, {"127.0.0.1:1", otherBoot, false},
		{"10.0.0.1:1", otherBoot, true}, {"example.org:1", otherBoot, true},
	} {
		if may := n.mayReach(coherence.Row{Address: c.address, Host: c.host}); may != c.may {
			t.Errorf("%s of %q is dialled: %v", c.address, c.host, may)
		}
	}
}

// Two hosts with the same loopback address in one members table.
func TestOneOfAnotherHostIsNotTakenForGone(t *testing.T) {
	db := newDatabase()
	p := cluster(t, db, tcpAddress(t))[0]
	const stranger = 12345
	db.with(func() {
		db.rows[stranger] = memberRow{Incarnation: stranger, Address: p.address, Host: "elsewhere boot net:[1]", State: "in"}
	})
	eventually(t, "it is a member", func() bool { return len(p.rows()) == 1 })
	p.write("k", "v", true) // waits for a lease
	if row := db.row(stranger); row.State != "out" || !strings.Contains(row.Reason, p.address+": it does not acknowledge") {
		t.Errorf("it was not marked out for its silence: %+v", row)
	}
	eventually(t, "the log says what to do", func() (found bool) {
		p.notes.Range(func(line, _ any) bool {
			found = found || strings.Contains(line.(string), "on elsewhere") && strings.Contains(line.(string), "`listen`")
			return !found
		})
		return found
	})
}

func TestStandingIsLogged(t *testing.T) {
	all := cluster(t, newDatabase(), unixAddress(t))
	eventually(t, "the log says that it is in standing", func() (found bool) {
		all[0].notes.Range(func(line, _ any) bool {
			found = found || strings.HasPrefix(line.(string), "info\x00serving")
			return !found
		})
		return found
	})
}

func TestRowsAreThoseOfTheOthers(t *testing.T) {
	a, b, c := three(t, newDatabase())
	want := []coherence.Incarnation{b.incarnation, c.incarnation}
	slices.Sort(want)
	eventually(t, "both are in", func() bool {
		rows := a.rows()
		return len(rows) == 2 && rows[0].Incarnation == want[0] && rows[1].Incarnation == want[1] &&
			rows[0].State == coherence.In && rows[1].State == coherence.In
	})
}
