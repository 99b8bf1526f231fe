package mesh

import (
	"errors"
	"strings"
	"testing"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// Nothing is sent to another process that answers at a member's address.
func TestAnotherProcessAtAnAddressIsNotTheMember(t *testing.T) {
	a, _ := open(t, Options{})
	b, _ := open(t, Options{Transport: transport.Options{Listen: []string{unixAddress(t)}}})
	row := coherence.Row{Incarnation: b.Incarnation, Address: b.Address}
	session, err := a.dial(t.Context(), row)
	must(t, err)
	session.Close(nil)
	row.Incarnation += 2
	if session, err := a.dial(t.Context(), row); !errors.Is(err, errOther) {
		t.Errorf("a session, %v, %v", session, err)
	}
	if lane, err := a.dialLane(t.Context(), row); !errors.Is(err, errOther) {
		t.Errorf("a lane, %v, %v", lane, err)
	}
}

func TestAnAddressOfAnotherSystemIsNotDialled(t *testing.T) {
	here := strings.Fields(thisHost())
	m := &Mesh{Host: thisHost()}
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
		if may := m.mayReach(coherence.Row{Address: c.address, Host: c.host}); may != c.may {
			t.Errorf("%s of %q is dialled: %v", c.address, c.host, may)
		}
	}
}
