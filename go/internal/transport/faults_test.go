package transport

import (
	"strings"
	"testing"
	"time"
)

func TestFaultsAreThrottledInTheLog(t *testing.T) {
	noLeaks(t)
	server := newServer(t, Limits{})
	const n = 20
	for range n {
		conn := rawConn(t, server)
		send(t, conn, []byte("garbage"))
		waitClosed(t, conn)
	}
	waitFor(t, "counts", func() bool { return server.Stats().Faults[ReasonMagic] == n })
	if lines := strings.Count(server.logged(), "\n") + 1; lines != 1 {
		t.Fatalf("%d lines for %d faults", lines, n)
	}
	later := time.Now().Add(LogEvery)
	if suppressed, ok := server.faults.throttle.allow(string(ReasonMagic), later); !ok || suppressed != n-1 {
		t.Fatalf("later: %v, %d suppressed", ok, suppressed)
	}
}
