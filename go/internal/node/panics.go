package node

import (
	"errors"
	"fmt"
	"slices"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// A panic under mu leaves half a change behind: in the machine, or in what is done because of it.
// So the machine restarts before the lock is given back, and the panic goes on to whoever has
// called: the transport ends the session then, an export tells Python of a failure, the clock goes
// on ticking.

// locked runs f under mu, and then does what the machine asks for.
func (n *Node) locked(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.broken {
		n.restart("an earlier panic")
	}
	defer func() {
		if p := recover(); p != nil {
			n.restart(fmt.Sprintf("panic: %v", p))
			panic(p)
		}
	}()
	f()
	n.carryOut()
}

// restart has the machine begin anew. Where that panics too it is tried again before anything else
// is done. The caller holds mu.
func (n *Node) restart(because string) {
	_, loud := n.throttle.Allow("restart")
	n.broken, n.quiet = true, !loud
	defer func() { n.quiet = false }()
	n.forgetQuestions()
	n.machine.Restart(now(), because)
	n.carryOut()
	n.broken = false
}

// forgetQuestions drops what was asked, or was to be asked, of the database: the machine asks again, and
// would take an answer to the earlier question for one to the later.
func (n *Node) forgetQuestions() {
	n.pending = nil
	n.todo = slices.DeleteFunc(n.todo, func(a coherence.Action) bool {
		switch a.Kind {
		case coherence.TakeView, coherence.Post, coherence.Elect, coherence.Enter, coherence.OpenTransactions:
			return true
		}
		return false
	})
}

// inputGuarded is input for a goroutine of this package, which a panic must not leave.
func (n *Node) inputGuarded(f func(m *coherence.Machine, now coherence.Time)) {
	n.guarded(func() { n.input(f) })
}

// guarded runs f, and logs a panic in it: nobody else would notice it, and it would end the process.
func (n *Node) guarded(f func()) (ok bool) {
	err := transport.Guard(func() error { f(); return nil })
	n.notePanic(err)
	return err == nil
}

func (n *Node) notePanic(err error) {
	var panicked *transport.Panicked
	if !errors.As(err, &panicked) {
		return
	}
	if muted, ok := n.throttle.Allow("panic"); ok {
		n.log("error", fmt.Sprintf("%v (and %d more since the last such line)\n%s", panicked, muted, panicked.Stack))
	}
}
