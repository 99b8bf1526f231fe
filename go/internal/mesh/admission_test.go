package mesh

import (
	"fmt"
	"strings"
	"testing"

	"guillotina_groupcache/internal/transport"
)

func TestWhichAddressesAreAdmitted(t *testing.T) {
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
			t.Errorf("%v admits %q: %v", c.list, c.address, got)
		}
	}
}

func TestTheLogNamesARejectedAddressOnce(t *testing.T) {
	j := new(journal)
	a := newAdmission([]string{"unix:/run/a"}, j.log, func() {})
	for range 3 {
		a.admits("unix:/run/b")
		a.admits("unix:/run/c")
	}
	for _, address := range []string{"unix:/run/b", "unix:/run/c"} {
		if n := j.count("warning: the process at " + address); n != 1 {
			t.Errorf("%d lines about %s", n, address)
		}
	}
	for i := range 3 * maxRejected {
		a.admits(fmt.Sprintf("10.0.0.1:%d", i))
	}
	if len(a.rejected) > maxRejected {
		t.Errorf("%d rejected addresses are kept", len(a.rejected))
	}
}

func TestWhichAddressIsAnotherThanTheOwn(t *testing.T) {
	for _, c := range []struct {
		advertise string
		want      bool
	}{{"", false}, {"127.0.0.1", false}, {"127.0.0.1:9000", true}, {"203.0.113.7", true}, {"cache.example.org", true}} {
		m := &Mesh{Options: Options{Transport: transport.Options{Self: transport.Peer{Address: c.advertise}}}, Address: "127.0.0.1:9000"}
		if c.advertise != "" && !strings.Contains(c.advertise, ":") {
			m.Address = c.advertise + ":9000"
		}
		if m.advertised() != c.want {
			t.Errorf("%q is another address than the own one: %v", c.advertise, !c.want)
		}
	}
}
