package node

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"guillotina_groupcache/internal/transport"
)

// journal keeps the lines that an admission logs.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) log(level, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, level+": "+text)
}

func (j *journal) count(part string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range j.lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

func TestWhoIsLetIn(t *testing.T) {
	for _, c := range []struct {
		list    []string
		address string
		want    bool
	}{
		{nil, "10.0.0.1:9000", true},
		{[]string{"10.0.0.1:9000"}, "10.0.0.1:9000", true},
		{[]string{"10.0.0.1:9000"}, "10.0.0.1:9001", false},
		{[]string{"10.0.0.1:9000"}, "10.0.0.2:9000", false},
		{[]string{"10.0.0.1:9000"}, "", true}, // a client
		{[]string{"localhost:9000"}, "127.0.0.1:9000", true},
		{[]string{"127.0.0.1:9000"}, "localhost:9000", true},
		{[]string{"unix:/run/a"}, "unix:/run/a", true},
		{[]string{"unix:/run/a"}, "unix:/run/b", false},
	} {
		if got := newAdmission(c.list, new(journal).log, func() {}).admits(c.address); got != c.want {
			t.Errorf("%v lets in %q: %v", c.list, c.address, got)
		}
	}
}

func TestTheLogTellsOfAStrangerOnce(t *testing.T) {
	j := new(journal)
	a := newAdmission([]string{"unix:/run/a"}, j.log, func() {})
	for range 3 {
		a.admits("unix:/run/b")
		a.admits("unix:/run/c")
	}
	for _, who := range []string{"unix:/run/b", "unix:/run/c"} {
		if n := j.count("warning: the process at " + who); n != 1 {
			t.Errorf("%d lines about %s", n, who)
		}
	}
	for i := range 3 * maxStrangers {
		a.admits(fmt.Sprintf("10.0.0.1:%d", i))
	}
	if len(a.told) > maxStrangers {
		t.Errorf("%d strangers are kept", len(a.told))
	}
}

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
		return a.transport.Stats().Faults[transport.ReasonNotAdmitted] > 0 && b.transport.Stats().Faults[transport.ReasonNotAdmitted] > 0
	})
	for i := range 3 {
		for _, writer := range []*process{a, b} {
			value := fmt.Sprint(i, writer.address)
			writer.write("k", value, true)
			for _, p := range []*process{a, b, stranger} {
				if got := p.get("k"); got != value {
					t.Errorf("%s gives %q, not %q", p.address, got, value)
				}
			}
		}
	}
	together(t, a, b)
	if stranger.serves() && slices.Contains(stranger.ringNow(), one) {
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
		if p.address != addresses[i] {
			t.Errorf("process %d listens at %s", i, p.address)
		}
	}
	all[1].end()
	again := open(t, db, settings{"listen": addresses})
	if again.address != addresses[1] {
		t.Errorf("a restart takes %s, not the place of who has ended", again.address)
	}
}
