package node

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// driver runs the state machine. Its lock guards the machine and everything that is done on the
// machine's behalf, in the machine's order: what is queued for a session under the lock leaves in the
// order in which the machine said so.
//
// A panic under the lock leaves half a change behind, in the machine or in an action. So the machine
// restarts before the lock is released, and the panic goes on to the caller: the transport then ends
// the session, an export returns a failure to Python, and the clock goes on ticking.
type driver struct {
	guard
	do            func(coherence.Action) // carries out one action; called under the lock
	forgetQueries func()                 // called under the lock when the machine restarts

	sync.Mutex
	machine *coherence.Machine
	todo    []coherence.Action // actions that are not carried out yet
	broken  bool               // a panic has left half a change, and the machine could not restart
	quiet   bool               // the machine restarts again and again: its log lines are dropped
}

// Input calls f with the machine under the lock, and then carries out what the machine asks for.
func (d *driver) Input(f func(m *coherence.Machine, now coherence.Time)) {
	d.Lock()
	defer d.Unlock()
	if d.broken {
		d.restart("an earlier panic")
	}
	defer func() {
		if p := recover(); p != nil {
			d.restart(fmt.Sprintf("panic: %v", p))
			panic(p)
		}
	}()
	f(d.machine, now())
	d.carryOut()
}

// InputGuarded is Input for goroutines of this process, which no panic may leave.
func (d *driver) InputGuarded(f func(m *coherence.Machine, now coherence.Time)) {
	d.run(func() { d.Input(f) })
}

// carryOut does what the machine asks for. A panic loses only the action that it comes from: without
// the others a commit, or a member, would wait for ever. The caller holds the lock.
func (d *driver) carryOut() {
	for {
		d.todo = append(d.todo, d.machine.Actions()...)
		if len(d.todo) == 0 {
			d.todo = nil
			return
		}
		a := d.todo[0]
		d.todo = d.todo[1:]
		if a.Kind != coherence.Log {
			d.do(a)
		} else if !d.quiet {
			d.log("info", a.Text)
		}
	}
}

// restart makes the machine begin anew. If that panics too, it is tried again before anything else is
// done. The caller holds the lock.
func (d *driver) restart(reason string) {
	_, loud := d.throttle.Allow("restart")
	d.broken, d.quiet = true, !loud
	defer func() { d.quiet = false }()
	d.dropQueries()
	d.machine.Restart(now(), reason)
	d.carryOut()
	d.broken = false
}

// dropQueries drops the queries to the database that are pending or not sent yet: the machine asks
// again, and would take the answer to an earlier query for the answer to the new one.
func (d *driver) dropQueries() {
	d.forgetQueries()
	d.todo = slices.DeleteFunc(d.todo, func(a coherence.Action) bool {
		switch a.Kind {
		case coherence.TakeView, coherence.Post, coherence.Elect, coherence.Enter, coherence.OpenTransactions:
			return true
		}
		return false
	})
}

// guard keeps panics from leaving goroutines, where they would end the process.
type guard struct {
	log      func(level, text string)
	throttle transport.Throttle // of log lines that a peer can cause
}

// run calls f and logs a panic in it, which is the only trace of it. It reports whether there was
// none.
func (g *guard) run(f func()) (ok bool) {
	err := transport.Guard(func() error { f(); return nil })
	var panicked *transport.Panicked
	if errors.As(err, &panicked) {
		if muted, ok := g.throttle.Allow("panic"); ok {
			g.log("error", fmt.Sprintf("%v (and %d more since the last such line)\n%s", panicked, muted, panicked.Stack))
		}
	}
	return err == nil
}
