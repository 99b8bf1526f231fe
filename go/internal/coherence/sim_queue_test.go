package coherence

import "time"

// step is what happens in a simulation at one instant.
type step struct {
	at    time.Duration
	n     int      // steps of one instant happen in the order in which they were put
	actor *process // the step waits while this process is stopped and is lost when it is dead; nil: it always happens
	call  func()
}

func (a *step) before(b *step) bool { return a.at < b.at || a.at == b.at && a.n < b.n }

// steps is a binary heap of steps, the next one first. It does not use container/heap, which boxes every
// element: the simulation spends a good part of its time here.
type steps struct {
	heap []step
	n    int
}

func (q *steps) put(at time.Duration, actor *process, call func()) {
	q.n++
	x := step{at, q.n, actor, call}
	q.heap = append(q.heap, x)
	i := len(q.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !x.before(&q.heap[parent]) {
			break
		}
		q.heap[i] = q.heap[parent]
		i = parent
	}
	q.heap[i] = x
}

func (q *steps) take() step {
	first := q.heap[0]
	last := len(q.heap) - 1
	x := q.heap[last]
	q.heap[last] = step{}
	q.heap = q.heap[:last]
	if last == 0 {
		return first
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && q.heap[child+1].before(&q.heap[child]) {
			child++
		}
		if !q.heap[child].before(&x) {
			break
		}
		q.heap[i] = q.heap[child]
		i = child
	}
	q.heap[i] = x
	return first
}

func (s *sim) at(at time.Duration, actor *process, call func()) { s.steps.put(at, actor, call) }

func (s *sim) after(d time.Duration, actor *process, call func()) { s.steps.put(s.now+d, actor, call) }

// run lets everything happen until the end, or until something is wrong.
func (s *sim) run(end time.Duration) {
	for len(s.steps.heap) > 0 && s.steps.heap[0].at <= end && s.violation == nil {
		x := s.steps.take()
		s.now = x.at
		switch {
		case x.actor == nil:
			x.call()
		case !x.actor.alive:
		case x.actor.stopped > s.now:
			x.actor.parked = append(x.actor.parked, x.call)
		default:
			x.call()
		}
	}
	s.now = max(s.now, end)
}

// A schedule is drawn from its seed by whole numbers only, so it is the same on any computer.

func (s *sim) below(n int) int { return int(s.random.Uint64() >> 1 % uint64(n)) }

// chance returns true n times in a thousand.
func (s *sim) chance(n int) bool { return s.below(1000) < n }

func (s *sim) between(a, b time.Duration) time.Duration {
	return a + time.Duration(s.random.Uint64()>>1%uint64(b-a))
}

// delay draws the delay of a message, or of a statement.
func (s *sim) delay() time.Duration {
	x := s.random.Uint64() >> 1
	if x%10 != 0 {
		return time.Millisecond/2 + time.Duration(x/10%uint64(7*time.Millisecond/2))
	}
	return 4*time.Millisecond + time.Duration(x/10%uint64(s.tail))
}
