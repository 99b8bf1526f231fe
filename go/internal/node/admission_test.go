package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"guillotina_groupcache/internal/transport"
)

// logLines returns how many lines of the log contain a part.
func (p *process) logLines(part string) (n int) {
	p.logged.Range(func(line, _ any) bool {
		if strings.Contains(line.(string), part) {
			n++
		}
		return true
	})
	return n
}

func TestAListOfPeersKeepsOtherProcessesOut(t *testing.T) {
	noLeaks(t)
	db := newDatabase()
	one, two, three := tcpAddress(t), tcpAddress(t), tcpAddress(t)
	list := settings{"admit": []string{one, two}}
	a := open(t, db, with(at(one), list))
	b := open(t, db, with(at(two), list))
	together(t, a, b)
	other := open(t, db, at(three))
	eventually(t, "it is refused", func() bool {
		return a.mesh.Transport.Stats().Faults[transport.ReasonNotAdmitted] > 0 && b.mesh.Transport.Stats().Faults[transport.ReasonNotAdmitted] > 0
	})
	for i := range 3 {
		for _, writer := range []*process{a, b} {
			value := fmt.Sprint(i, writer.mesh.Address)
			writer.write("k", value, true)
			for _, p := range []*process{a, b, other} {
				if got := p.get("k"); got != value {
					t.Errorf("%s gives %q, not %q", p.mesh.Address, got, value)
				}
			}
		}
	}
	together(t, a, b)
	if other.serves() && slices.Contains(other.owners(), one) {
		t.Error("the process that is not listed serves beside the others")
	}
	for _, p := range []*process{a, b} {
		eventually(t, "the log names it", func() bool { return p.logLines(three+" uses the same database and is not in") == 1 })
	}
}

func TestAClientNeedsNoPlaceOnTheList(t *testing.T) {
	db := newDatabase()
	address := tcpAddress(t)
	a := open(t, db, with(at(address), settings{"admit": []string{address}}))
	eventually(t, "it serves", a.serves)
	client := open(t, db, settings{"admit": []string{address}, "secret": testSecret})
	eventually(t, "the client serves", client.serves)
	client.write("k", "v", true)
	if got := a.get("k"); got != "v" {
		t.Errorf("got %q", got)
	}
}

func TestTheFirstFreeAddressOfSeveral(t *testing.T) {
	db := newDatabase()
	addresses := []string{unixAddress(t), unixAddress(t), unixAddress(t)}
	var all []*process
	for range addresses {
		all = append(all, open(t, db, settings{"listen": addresses}))
	}
	together(t, all...)
	for i, p := range all {
		if p.mesh.Address != addresses[i] {
			t.Errorf("process %d listens at %s", i, p.mesh.Address)
		}
	}
	all[1].end()
	again := open(t, db, settings{"listen": addresses})
	if again.mesh.Address != addresses[1] {
		t.Errorf("a restart takes %s, not the address of the process that has ended", again.mesh.Address)
	}
}
