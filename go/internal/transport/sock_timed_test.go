package transport

import (
	"net"
	"testing"
	"time"
)

// stepConn records how much is written under each deadline.
type stepConn struct {
	net.Conn
	steps []int
}

func (c *stepConn) SetWriteDeadline(at time.Time) error {
	if !at.IsZero() {
		c.steps = append(c.steps, 0)
	}
	return nil
}

func (c *stepConn) Write(p []byte) (int, error) {
	c.steps[len(c.steps)-1] += len(p)
	return len(p), nil
}

// A large frame gets a deadline for each step, so that a slow network is not taken for a write timeout.
func TestADeadlineCoversOneStepOfAWrite(t *testing.T) {
	under := &stepConn{}
	conn := &timedConn{Conn: under, writeTimeout: time.Second}
	const size = 5*writeStep + 1
	if n, err := conn.Write(make([]byte, size)); n != size || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if len(under.steps) != 6 || under.steps[0] != writeStep || under.steps[5] != 1 {
		t.Fatalf("steps of %v bytes", under.steps)
	}
}
