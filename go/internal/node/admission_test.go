package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"guillotina_groupcache/internal/transport"
)

// noted returns how many lines of the log have a part.
func (p *process) noted(part string) (n int) {
	p.notes.Range(func(line, _ any) bool {
		if strings.Contains(line.(string), part) {
			n++
		}
		return true
	})
	return n
}

func TestAStaticListKeepsAStrangerOut(t *testing.T) {
	noLeaks(t)
	db := newDatabase()
	one, two, three := tcpAddress(t), tcpAddress(t), tcpAddress(t)
	list := settings{"admit": []string{one, two}}
	a := open(t, db, with(at(one), list))
	b := open(t, db, with(at(two), list))
	together(t, a, b)
	stranger := open(t, db, at(three))
	eventually(t, "it is refused", func() bool {
		return a.mesh.Transport.Stats().Faults[transport.ReasonNotAdmitted] > 0 && b.mesh.Transport.Stats().Faults[transport.ReasonNotAdmitted] > 0
	})
	for i := range 3 {
		for _, writer := range []*process{a, b} {
			value := fmt.Sprint(i, writer.mesh.Address)
			writer.write("k", value, true)
			for _, p := range []*process{a, b, stranger} {
				if got := p.get("k"); got != value {
					t.Errorf("%s gives %q, not %q", p.mesh.Address, got, value)
				}
			}
		}
	}
	together(t, a, b)
	if stranger.serves() && slices.Contains(stranger.owners(), one) {
		t.Error("the stranger is in standing beside the others")
	}
	for _, p := range []*process{a, b} {
		eventually(t, "the log tells of it", func() bool { return p.noted(three+" uses the same database and is not in") == 1 })
	}
}

func TestAClientNeedsNoPlaceOnTheList(t *testing.T) {
	db := newDatabase()
	address := tcpAddress(t)
	a := open(t, db, with(at(address), settings{"admit": []string{address}}))
	eventually(t, "it is in standing", a.serves)
	client := open(t, db, settings{"admit": []string{address}, "secret": testSecret})
	eventually(t, "the client is in standing", client.serves)
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
		t.Errorf("a restart takes %s, not the place of who has ended", again.mesh.Address)
	}
}
