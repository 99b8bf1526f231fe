package coherence

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
)

// A simulated cluster of the real state machine: a database that is the referee, a network
// that delays, cuts and loses, clocks that drift, pauses, crashes, restarts and joins, all
// from one seed. Checked at every read: the database held the value at some instant between
// the read's begin and its end. At the end, once all is whole: everyone in standing, nothing
// in doubt, equal tables.

var (
	simRuns = flag.Int("sim.runs", 300, "random schedules to run")
	simSeed = flag.Uint64("sim.seed", 1, "first seed")
	simTell = flag.Bool("sim.story", false, "tell every step of one schedule")
)

const (
	simBuckets = 8
	simLease   = time.Second
)

func TestRandomSchedules(t *testing.T) {
	runs := *simRuns
	if *simTell {
		runs = 1
	}
	seeds := make(chan uint64)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var total simCounts
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := range seeds {
				s := newSim(seed)
				err := s.schedule()
				mu.Lock()
				total.add(s.simCounts)
				if err != nil {
					t.Errorf("seed %d (-sim.seed=%d -sim.story): %v", seed, seed, err)
				}
				mu.Unlock()
			}
		})
	}
	for i := range runs {
		seeds <- *simSeed + uint64(i)
	}
	close(seeds)
	wg.Wait()
	t.Logf("%d schedules: %+v", runs, total)
	if total.Hits == 0 || total.Writes == 0 || total.Bypasses == 0 {
		t.Errorf("the schedules show nothing: %+v", total)
	}
}

type simCounts struct{ Reads, Hits, Bypasses, Writes, Joins int }

func (c *simCounts) add(o simCounts) {
	c.Reads += o.Reads
	c.Hits += o.Hits
	c.Bypasses += o.Bypasses
	c.Writes += o.Writes
	c.Joins += o.Joins
}

type step struct {
	at   time.Duration
	n    int
	who  *process // it waits while who is paused and is lost when who is dead; nil: always
	call func()
}

type steps []step

func (q steps) Len() int { return len(q) }
func (q steps) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].n < q[j].n
}
func (q steps) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *steps) Push(x any)   { *q = append(*q, x.(step)) }
func (q *steps) Pop() any     { old := *q; x := old[len(old)-1]; *q = old[:len(old)-1]; return x }

type committed struct {
	at    time.Duration
	value int
}

type transaction struct {
	name     string
	key      int
	inFlight bool // COMMIT was sent
}

type name struct {
	key     int
	version uint64
}

type process struct {
	inc     Incarnation
	address string
	m       *Machine
	alive   bool
	paused  time.Duration
	rate    float64
	offset  time.Duration
	store   map[name]int
	writes  map[EventID]*transaction
}

type link struct {
	up         bool
	cut        time.Duration // not before
	generation int
	last       [2]time.Duration // in order, for each direction
}

type sim struct {
	simCounts
	r          *rand.Rand
	now        time.Duration
	queue      steps
	n          int
	keys       int
	slow       bool
	writeShare float64
	values     [][]committed
	locks      map[int]*transaction
	open       map[*transaction]bool
	board      map[Incarnation]*Row
	processes  map[Incarnation]*process
	links      map[[2]Incarnation]*link
	last       Incarnation
	faults     bool
	loads      bool
	violation  error
	broken     rule // what this simulation does wrong on purpose
}

func newSim(seed uint64) *sim {
	s := &sim{
		r:         rand.New(rand.NewPCG(seed, 7)),
		locks:     make(map[int]*transaction),
		open:      make(map[*transaction]bool),
		board:     make(map[Incarnation]*Row),
		processes: make(map[Incarnation]*process),
		links:     make(map[[2]Incarnation]*link),
		faults:    true,
		loads:     true,
	}
	s.keys = []int{1, 3, 6}[s.r.IntN(3)]
	s.slow = s.r.Float64() < .3
	s.writeShare = []float64{.01, .03, .1}[s.r.IntN(3)]
	for range s.keys {
		s.values = append(s.values, []committed{{}})
	}
	return s
}

func (s *sim) schedule() error {
	for i := range 2 + s.r.IntN(4) {
		delay := time.Duration(0)
		if s.r.IntN(3) == 0 {
			delay = s.between(0, 4*time.Second)
		}
		s.after(delay, nil, func() { s.start(address(i, s.r)) })
	}
	s.after(3*time.Second, nil, s.fault)
	s.run(20 * time.Second)
	s.faults, s.loads = false, false
	for _, l := range s.links {
		l.cut = 0
	}
	for _, p := range s.processes {
		p.paused = 0
	}
	s.run(s.now + (maxPause+12)*simLease)
	for range 20 { // a slow answer of the database may be under way at any one moment
		if s.violation != nil || s.whole() == nil {
			return s.violation
		}
		s.run(s.now + 200*time.Millisecond)
	}
	return s.whole()
}

// address is a process's place on the ring; a client has none.
func address(i int, r *rand.Rand) string {
	if i > 1 && r.IntN(4) == 0 {
		return ""
	}
	return fmt.Sprint("p", i)
}

// whole tells whether a cluster that was left in peace has come to rest.
func (s *sim) whole() error {
	var first *process
	for _, p := range s.live() {
		if !p.m.Serves(s.clock(p)) || len(p.m.open) > 0 {
			return fmt.Errorf("not healed: %d phase %d open %d", p.inc, p.m.phase, len(p.m.open))
		}
		if first == nil {
			first = p
		}
		for b := range uint32(simBuckets) {
			v, ok := p.m.table.Version(b)
			w, _ := first.m.table.Version(b)
			if !ok || v != w {
				return fmt.Errorf("tables differ: %d and %d at bucket %d, epochs %x %x, settled %v and %v", p.inc, first.inc, b,
					p.m.table.settledWord(wordEpoch), first.m.table.settledWord(wordEpoch), p.m.packSettled(), first.m.packSettled())
			}
		}
	}
	return nil
}

func (s *sim) live() []*process {
	var list []*process
	for inc := Incarnation(1); inc <= s.last; inc++ {
		if p := s.processes[inc]; p != nil && p.alive {
			list = append(list, p)
		}
	}
	return list
}

func (s *sim) tell(format string, args ...any) {
	if *simTell {
		fmt.Printf("%9.4f %s\n", s.now.Seconds(), fmt.Sprintf(format, args...))
	}
}

func (s *sim) after(d time.Duration, who *process, call func()) {
	s.n++
	heap.Push(&s.queue, step{s.now + d, s.n, who, call})
}

func (s *sim) run(end time.Duration) {
	for len(s.queue) > 0 && s.queue[0].at <= end && s.violation == nil {
		x := heap.Pop(&s.queue).(step)
		s.now = x.at
		if x.who != nil {
			if !x.who.alive {
				continue
			}
			if x.who.paused > s.now {
				x.at = x.who.paused + 1
				heap.Push(&s.queue, x)
				continue
			}
		}
		x.call()
	}
	s.now = max(s.now, end)
}

func (s *sim) between(a, b time.Duration) time.Duration {
	return a + time.Duration(s.r.Int64N(int64(b-a)))
}

func (s *sim) delay() time.Duration {
	switch x := s.r.Float64(); {
	case x < .9:
		return s.between(time.Millisecond/2, 4*time.Millisecond)
	case s.slow:
		return s.between(4*time.Millisecond, 600*time.Millisecond)
	default:
		return s.between(4*time.Millisecond, 200*time.Millisecond)
	}
}
