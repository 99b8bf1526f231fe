package node

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"guillotina_groupcache/internal/coherence"
)

func TestAProcessThatIsKilledDelaysNoOther(t *testing.T) {
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
	eventually(t, "its keys have other owners", func() bool { return len(b.owners()) == 1 && len(c.owners()) == 1 })
	together(t, b, c)
}

// owners returns the addresses of the other owners of keys, as the ring has them.
func (p *process) owners() []string {
	found := make(map[string]bool)
	for i := range 500 {
		found[p.group.Owner([]byte(fmt.Sprint("owned ", i)))] = true
	}
	delete(found, "") // this process
	return slices.Sorted(maps.Keys(found))
}

func TestNoWriterWaitsForAProcessThatHasLeft(t *testing.T) {
	db := newDatabase()
	a, b, c := three(t, db)
	a.Leave()
	eventually(t, "its row is gone", func() bool { return db.row(a.incarnationID()).State == "" })
	if n, _ := a.Lookup([]byte("k"), nil); n != Bypass {
		t.Errorf("a process that has left serves: %d", n)
	}
	b.write("k", "v", true)
	a.end()
	c.write("k", "w", true)
	if got := b.get("k"); got != "w" {
		t.Errorf("got %q", got)
	}
	eventually(t, "nothing is kept of it", func() bool { return b.peerCount() == 1 && c.peerCount() == 1 })
}

func TestARestartAtTheSameAddress(t *testing.T) {
	db := newDatabase()
	for _, address := range []func(testing.TB) string{unixAddress, tcpAddress} {
		first := cluster(t, db, address(t), address(t))
		stays, goes := first[0], first[1]
		goes.end()
		again := open(t, db, at(goes.mesh.Address))
		together(t, stays, again)
		eventually(t, "the earlier one is out", func() bool { return db.row(goes.incarnationID()).State == "out" })
		earlier := func(row coherence.Row) bool { return row.Address == again.mesh.Address && row.State == coherence.In }
		if slices.ContainsFunc(again.rows(), earlier) {
			t.Error("it is on its own ring as another one")
		}
		stays.write("k", address(t), false)
		if got := again.get("k"); got != db.get("k") {
			t.Errorf("got %q, want %q", got, db.get("k"))
		}
		again.driver.Lock()
		if again.mesh.Peers[again.mesh.Incarnation] != nil {
			t.Error("it keeps itself as a peer")
		}
		again.driver.Unlock()
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
	eventually(t, "it serves", d.serves)
	eventually(t, "the others ask it", func() bool { return b.reaches() == 3 })
	b.write("k", "w", true)
	if got := d.get("k"); got != "w" {
		t.Errorf("got %q", got)
	}
}

// The listener at the address of a row accepts no connection, so nothing proves that the process has
// ended.
func TestARowThatNeverAnswers(t *testing.T) {
	db := newDatabase()
	unanswered := unansweredAddress(t)
	all := cluster(t, db, unixAddress(t))
	p := all[0]
	before := p.peerCount()
	const ghost = 12345
	db.with(func() { db.rows[ghost] = memberRow{Incarnation: ghost, Address: unanswered, State: "in"} })
	eventually(t, "it is dialled", func() bool { return p.peerCount() == before+1 })
	p.write("k", "v", true) // waits for a lease after marking it out
	if got := p.get("k"); got != "v" {
		t.Errorf("got %q", got)
	}
	if state := db.row(ghost).State; state != "out" {
		t.Errorf("it is %q", state)
	}
	db.with(func() { delete(db.rows, ghost) })
	eventually(t, "nothing is kept of it", func() bool { return p.peerCount() == before })
}

func TestMalformedRows(t *testing.T) {
	db := newDatabase()
	all := cluster(t, db, unixAddress(t))
	p := all[0]
	db.with(func() { db.rows[7] = memberRow{Incarnation: 7, State: "nonsense"} })
	eventually(t, "a view leaves the row out, as if it had been deleted", func() bool { return p.logLines("rows are missing in the members table (1)") == 1 })
	p.write("k", "v", true)
	if got := p.get("k"); got != "v" || !p.serves() {
		t.Errorf("got %q, and it serves: %v", got, p.serves())
	}
	p.Answer(1<<40, []byte("not JSON"))
}

// Two hosts with the same loopback address in one members table.
func TestAProcessOfAnotherHostIsNotTakenForEnded(t *testing.T) {
	db := newDatabase()
	p := cluster(t, db, tcpAddress(t))[0]
	const ghost = 12345
	db.with(func() {
		db.rows[ghost] = memberRow{Incarnation: ghost, Address: p.mesh.Address, Host: "elsewhere boot net:[1]", State: "in"}
	})
	eventually(t, "it is a member", func() bool { return len(p.rows()) == 1 })
	p.write("k", "v", true) // waits for a lease
	if row := db.row(ghost); row.State != "out" || !strings.Contains(row.Reason, p.mesh.Address+": it does not acknowledge") {
		t.Errorf("it was not marked out because it does not acknowledge: %+v", row)
	}
	eventually(t, "the log says what to do", func() (found bool) {
		p.logged.Range(func(line, _ any) bool {
			found = found || strings.Contains(line.(string), "on elsewhere") && strings.Contains(line.(string), "`listen`")
			return !found
		})
		return found
	})
}

func TestServingIsLogged(t *testing.T) {
	all := cluster(t, newDatabase(), unixAddress(t))
	eventually(t, "the log says that it serves", func() (found bool) {
		all[0].logged.Range(func(line, _ any) bool {
			found = found || strings.HasPrefix(line.(string), "info\x00serving: ")
			return !found
		})
		return found
	})
}

func TestRowsAreThoseOfTheOthers(t *testing.T) {
	a, b, c := three(t, newDatabase())
	want := []coherence.Incarnation{b.mesh.Incarnation, c.mesh.Incarnation}
	slices.Sort(want)
	eventually(t, "both are in", func() bool {
		rows := a.rows()
		return len(rows) == 2 && rows[0].Incarnation == want[0] && rows[1].Incarnation == want[1] &&
			rows[0].State == coherence.In && rows[1].State == coherence.In
	})
}
