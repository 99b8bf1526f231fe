package node

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// ahead is by how many seconds the boot clock of the namespace that the test makes is ahead of the
// host's, and so of the namespace's other clocks.
const ahead = "1000000"

// inNamespace is set in the environment of the test's program that runs there.
const inNamespace = "GROUPCACHE_TEST_TIME_NAMESPACE"

// The clock is the one that counts while the machine is suspended. A time namespace is where it
// differs from the others.
func TestTheClockIsTheBootClockOfItsTimeNamespace(t *testing.T) {
	if os.Getenv(inNamespace) != "" {
		t.Skip("this is the namespace")
	}
	for _, privileges := range [][]string{nil, {"--user", "--map-root-user"}} {
		unshare := append(privileges, "--time", "--fork", "--kill-child", "--boottime", ahead)
		if out, err := exec.Command("unshare", append(unshare, "true")...).CombinedOutput(); err != nil {
			t.Logf("%v: %s", err, out)
			continue
		}
		test := append(unshare, os.Args[0], "-test.run=^TestInATimeNamespace$", "-test.v")
		c := exec.Command("unshare", test...)
		c.Env = append(os.Environ(), inNamespace+"=1")
		out, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestInATimeNamespace") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	t.Skip("this process may make no time namespace")
}

func TestInATimeNamespace(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		t.Skip("TestTheClockIsTheBootClockOfItsTimeNamespace runs it")
	}
	if lead := clock(t, unix.CLOCK_BOOTTIME) - clock(t, unix.CLOCK_MONOTONIC); lead < 1e6*1e9/2 {
		t.Fatalf("the boot clock is ahead by %v, the namespace has no effect", time.Duration(lead))
	}
	before := clock(t, unix.CLOCK_BOOTTIME)
	read := now()
	if after := clock(t, unix.CLOCK_BOOTTIME); read < before || read > after {
		t.Errorf("the clock shows %d between %d and %d of the boot clock", read, before, after)
	}
	// So what is kept ends by that clock.
	const ttl = 1000 * time.Second
	p := open(t, newDatabase(), settings{"alone": true, "ttl": ttl.Seconds()})
	before = clock(t, unix.CLOCK_BOOTTIME)
	p.read("k")
	after := clock(t, unix.CLOCK_BOOTTIME)
	_, found := p.Lookup([]byte("k"), make([]byte, 10))
	if found.Source != cache.Own || found.Expires < before.Add(ttl) || found.Expires > after.Add(ttl) {
		t.Errorf("it ends at %d, read between %d and %d", found.Expires, before, after)
	}
}

func clock(t *testing.T, id int32) coherence.Time {
	t.Helper()
	var at unix.Timespec
	if err := unix.ClockGettime(id, &at); err != nil {
		t.Fatal(err)
	}
	return coherence.Time(at.Nano())
}
