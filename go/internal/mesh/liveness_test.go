package mesh

import (
	"math/rand/v2"
	"strings"
	"testing"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

func TestAProcessHasEndedWhenNobodyHoldsItsSocket(t *testing.T) {
	noLeaks(t)
	who := coherence.Incarnation(rand.Uint64()>>1 | 1)
	if !hasEnded(who) {
		t.Error("one that never was lives")
	}
	socket, err := holdLiveness(who)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := holdLiveness(who); err == nil {
		second.Close()
		t.Error("two hold one name")
	}
	for range 1000 { // asking fills no queue
		if hasEnded(who) {
			t.Fatal("it has ended while its socket is held")
		}
	}
	socket.Close()
	if !hasEnded(who) {
		t.Error("it lives when its socket is closed")
	}
}

// Another system has names of its own, and knows nothing of ours.
func TestAnEndIsProvedOnlyOnTheSameSystem(t *testing.T) {
	m, _ := open(t, Options{Transport: transport.Options{Listen: []string{unixAddress(t)}}})
	here := strings.Fields(thisHost())
	if len(here) != 3 || m.Host != thisHost() {
		t.Fatalf("the host is %q, the process says %q", thisHost(), m.Host)
	}
	hosts := map[string]bool{thisHost(): true, "": false}
	for i := range here {
		other := append([]string(nil), here...)
		other[i] = "other"
		hosts[strings.Join(other, " ")] = false
	}
	ended := coherence.Incarnation(rand.Uint64()>>1 | 1)
	for host, proves := range hosts {
		if m.provesEnd(coherence.Row{Incarnation: ended, Host: host}) != proves {
			t.Errorf("%q: proves %v", host, !proves)
		}
		if m.provesEnd(coherence.Row{Incarnation: m.Incarnation, Host: host}) {
			t.Errorf("%q: one that lives has ended", host)
		}
	}
}
