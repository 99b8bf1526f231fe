package coherence

import (
	"cmp"
	"container/heap"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
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
	simRuns = flag.Int("sim.runs", 2000, "random schedules to run")
	simSeed = flag.Uint64("sim.seed", 1, "first seed")
	simTell = flag.Bool("sim.story", false, "tell every step of one schedule")
)

const (
	simBuckets = 8
	simLease   = time.Second
)

func TestRandomSchedules(t *testing.T) {
	runs := *simRuns
	if testing.Short() {
		runs = min(runs, 300)
	}
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
	name      string
	key       int
	inFlight  bool // COMMIT was sent
	connected bool
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
	reading bool
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
		s.after(delay, nil, func() { s.start(fmt.Sprint("p", i)) })
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
	s.run(s.now + 20*time.Second)
	for range 20 { // a slow answer of the database may be under way at any one moment
		if s.violation != nil || s.whole() == nil {
			return s.violation
		}
		s.run(s.now + 200*time.Millisecond)
	}
	return s.whole()
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

// --- processes

func (s *sim) clock(p *process) Time {
	return Time(p.offset) + Time(p.rate*float64(s.now))
}

func (s *sim) start(address string) {
	s.last++
	s.Joins++
	p := &process{
		inc: s.last, address: address, alive: true,
		rate:   1 + (s.r.Float64()*2-1)*drift,
		offset: s.between(0, 1000*time.Second),
		store:  make(map[name]int),
		writes: make(map[EventID]*transaction),
	}
	s.processes[p.inc] = p
	table := NewTable(make([]uint64, TableHeader+simBuckets))
	p.m = New(Config{
		Incarnation: p.inc, Address: address, Lease: simLease,
		AckTimeout: 150 * time.Millisecond, OrphanAfter: 800 * time.Millisecond,
		Random: s.r.Uint64,
	}, table, s.clock(p))
	s.tell("start %d at %s", p.inc, address)
	s.act(p)
	s.after(0, p, func() { s.tick(p) })
	s.after(10*time.Millisecond, p, func() { s.load(p) })
}

func (s *sim) tick(p *process) {
	p.m.Tick(s.clock(p))
	s.act(p)
	s.after(50*time.Millisecond, p, func() { s.tick(p) })
}

func (s *sim) crash(p *process) {
	s.tell("crash %d", p.inc)
	p.alive = false
	for other := Incarnation(1); other <= s.last; other++ {
		s.breakLink(p.inc, other)
	}
	for _, tx := range s.openTransactions() {
		if tx.name[:len(fmt.Sprint(p.inc))+1] == fmt.Sprint(p.inc, ".") && !tx.inFlight {
			s.after(s.delay(), nil, func() { s.end(tx) })
		}
	}
}

func (s *sim) fault() {
	if !s.faults {
		return
	}
	live := s.live()
	switch x := s.r.Float64(); {
	case len(live) == 0:
	case x < .35:
		p := live[s.r.IntN(len(live))]
		p.paused = s.now + []time.Duration{50, 300, 1200, 4000}[s.r.IntN(4)]*time.Millisecond
		s.tell("pause %d until %v", p.inc, p.paused)
	case x < .55:
		p := live[s.r.IntN(len(live))]
		s.crash(p)
		address := p.address
		s.after([]time.Duration{50, 1000, 3000}[s.r.IntN(3)]*time.Millisecond, nil, func() { s.start(address) })
	case x < .85 && len(live) > 1:
		i, j := s.r.IntN(len(live)), s.r.IntN(len(live))
		if i != j {
			l := s.link(live[i].inc, live[j].inc)
			l.cut = s.now + []time.Duration{10, 100, 500, 2000, 5000}[s.r.IntN(5)]*time.Millisecond
			s.tell("cut %d %d until %v", live[i].inc, live[j].inc, l.cut)
			s.breakLink(live[i].inc, live[j].inc)
		}
	}
	s.after(s.between(200*time.Millisecond, 2500*time.Millisecond), nil, s.fault)
}

// --- network

func pair(a, b Incarnation) [2]Incarnation { return [2]Incarnation{min(a, b), max(a, b)} }

func (s *sim) link(a, b Incarnation) *link {
	l := s.links[pair(a, b)]
	if l == nil {
		l = &link{}
		s.links[pair(a, b)] = l
	}
	return l
}

// connect dials, and again while it is cut off.
func (s *sim) connect(p, q *process) {
	l := s.link(p.inc, q.inc)
	if l.up || !p.alive || !q.alive {
		return
	}
	if l.cut > s.now {
		s.after(l.cut-s.now+s.delay(), nil, func() { s.connect(p, q) })
		return
	}
	l.up = true
	l.generation++
	for _, end := range [][2]*process{{p, q}, {q, p}} {
		g := l.generation
		s.after(s.delay(), end[0], func() {
			if l.up && l.generation == g {
				end[0].m.Linked(s.clock(end[0]), end[1].inc)
				s.act(end[0])
			}
		})
	}
}

func (s *sim) breakLink(a, b Incarnation) {
	l := s.links[pair(a, b)]
	if l == nil || !l.up {
		return
	}
	l.up = false
	g := l.generation
	for _, end := range [][2]Incarnation{{a, b}, {b, a}} {
		p, q := s.processes[end[0]], s.processes[end[1]]
		s.after(s.delay(), p, func() {
			if l.generation == g {
				p.m.Unlinked(q.inc)
				s.connect(p, q)
			}
		})
	}
}

func (s *sim) send(p, q *process, message *Message) {
	l := s.link(p.inc, q.inc)
	if !l.up {
		return
	}
	direction := 0
	if p.inc > q.inc {
		direction = 1
	}
	at := max(s.now+s.delay(), l.last[direction]+1)
	l.last[direction] = at
	g := l.generation
	twice := s.r.IntN(50) == 0
	deliver := func() {
		if l.up && l.generation == g {
			q.m.Receive(s.clock(q), p.inc, message)
			s.act(q)
		}
	}
	s.after(at-s.now, q, deliver)
	if twice { // a repeated frame must not matter
		s.after(at-s.now, q, deliver)
	}
}

// --- what a machine asks for

func (s *sim) act(p *process) {
	for _, a := range p.m.Actions() {
		s.carryOut(p, a)
	}
	for _, row := range p.m.Rows() {
		if q := s.processes[row.Incarnation]; q != nil {
			s.connect(p, q)
		}
	}
}

func (s *sim) carryOut(p *process, a Action) {
	switch a.Kind {
	case Send:
		if q := s.processes[a.To]; q != nil {
			s.send(p, q, a.Message)
		}
	case Passed:
		s.passed(p, a.Event)
	case Note:
		s.tell("%d: %s", p.inc, a.Text)
	case Read:
		asked := s.clock(p)
		s.database(p, func() func() {
			var rows []Row
			for inc := Incarnation(1); inc <= s.last; inc++ {
				if row := s.board[inc]; row != nil {
					rows = append(rows, *row)
				}
			}
			return func() { p.m.Reading(s.clock(p), asked, rows, nil) }
		})
	case Post:
		s.database(p, func() func() {
			s.board[p.inc] = &Row{p.inc, p.address, Joining}
			return func() { p.m.Posted(s.clock(p), nil) }
		})
	case MarkOut:
		s.database(p, func() func() {
			if row := s.board[a.To]; row != nil {
				row.State = Out
			}
			return func() {}
		})
	case Elect:
		s.database(p, func() func() {
			won := s.elect(p)
			open := s.openNames()
			return func() { p.m.Elected(s.clock(p), won, open, nil) }
		})
	case Enter:
		s.database(p, func() func() {
			row := s.board[p.inc]
			ok := row != nil && (row.State == Joining || row.State == Boot)
			if ok {
				row.State = In
			}
			return func() { p.m.Entered(s.clock(p), ok, nil) }
		})
	case OpenTransactions:
		s.database(p, func() func() {
			open := s.openNames()
			return func() { p.m.OpenTransactions(s.clock(p), a.Database, open, nil) }
		})
	}
}

func (s *sim) database(p *process, execute func() func()) {
	s.after(s.delay(), nil, func() {
		answer := execute()
		s.after(s.delay(), p, func() {
			answer()
			s.act(p)
		})
	})
}

func (s *sim) elect(p *process) bool {
	own := s.board[p.inc]
	if own == nil || own.State != Joining {
		return false
	}
	for inc, row := range s.board {
		if inc != p.inc && (row.State == In || row.State == Boot) {
			return false
		}
	}
	own.State = Boot
	return true
}

func (s *sim) openTransactions() []*transaction {
	return slices.SortedFunc(maps.Keys(s.open), func(a, b *transaction) int { return cmp.Compare(a.name, b.name) })
}

func (s *sim) openNames() []string {
	var names []string
	for _, tx := range s.openTransactions() {
		names = append(names, tx.name)
	}
	return names
}

// --- load

func (s *sim) load(p *process) {
	if !s.loads {
		return
	}
	for range 1 + s.r.IntN(2) {
		s.read(p, s.r.IntN(s.keys))
	}
	if s.r.Float64() < s.writeShare {
		s.write(p, s.r.IntN(s.keys), 0)
	}
	s.after(s.between(5*time.Millisecond, 80*time.Millisecond), p, func() { s.load(p) })
}

func (s *sim) valid(key, value int, from, to time.Duration) bool {
	history := s.values[key]
	for i, c := range history {
		if c.value == value {
			return c.at <= to && (i+1 == len(history) || history[i+1].at >= from)
		}
	}
	return false
}

func (s *sim) read(p *process, key int) {
	s.Reads++
	begun, bucket, done := s.now, uint32(key), false
	end := func(value int) {
		if done {
			return
		}
		done = true
		if !s.valid(key, value, begun, s.now) {
			s.violation = fmt.Errorf("%d read key %d as %d, begun %v, now %v: %v",
				p.inc, key, value, begun, s.now, s.values[key])
		}
	}
	bypass := func() {
		if !done {
			s.Bypasses++
			s.fetch(p, key, end)
		}
	}
	deadline := p.m.table.Deadline()
	version, settled := p.m.table.Version(bucket)
	if s.clock(p) >= deadline || !settled {
		bypass()
		return
	}
	n := name{key, version}
	if value, ok := p.store[n]; ok {
		s.Hits++
		end(value)
		return
	}
	owner := s.owner(p, key)
	if owner == p {
		s.fetch(p, key, func(value int) { p.store[n] = value; end(value) })
		return
	}
	got := func(value int) { p.store[n] = value; end(value) }
	s.after(s.delay(), owner, func() {
		answer := func(value int) { s.after(s.delay(), p, func() { got(value) }) }
		if value, ok := owner.store[n]; ok {
			answer(value)
			return
		}
		s.fetch(owner, key, func(value int) { owner.store[n] = value; answer(value) })
	})
	s.after(500*time.Millisecond, p, bypass)
}

func (s *sim) owner(p *process, key int) *process {
	ring := []*process{p}
	for _, row := range p.m.Rows() {
		if q := s.processes[row.Incarnation]; row.State == In && q != nil {
			ring = append(ring, q)
		}
	}
	return ring[(key*7+len(ring))%len(ring)]
}

func (s *sim) fetch(p *process, key int, then func(int)) {
	s.after(s.delay(), nil, func() {
		history := s.values[key]
		value := history[len(history)-1].value
		s.after(s.delay(), p, func() { then(value) })
	})
}

func (s *sim) write(p *process, key, tries int) {
	if s.locks[key] != nil {
		if tries < 20 {
			s.after(10*time.Millisecond+s.delay(), p, func() { s.write(p, key, tries+1) })
		}
		return
	}
	s.n++
	tx := &transaction{name: fmt.Sprint(p.inc, ".", s.n), key: key}
	s.locks[key], s.open[tx] = tx, true
	s.after(s.delay(), p, func() {
		id := p.m.Announce(s.clock(p), "db", false, []uint32{uint32(key)})
		p.writes[id] = tx
		s.act(p)
		if s.r.Float64() < .05 { // it gives up before COMMIT
			s.after(s.delay(), p, func() {
				if !tx.inFlight {
					delete(p.writes, id)
					s.end(tx)
					p.m.Settle(s.clock(p), id)
					s.act(p)
				}
			})
		}
	})
}

func (s *sim) passed(p *process, id EventID) {
	gap, duration, lost := s.delay(), s.delay(), s.r.Float64() < .03
	if s.r.Float64() < .07 {
		gap = s.between(0, 3*time.Second)
	}
	if s.r.Float64() < .07 {
		duration = s.between(0, 2500*time.Millisecond)
	}
	s.after(gap, p, func() {
		tx := p.writes[id]
		if tx == nil || !s.open[tx] {
			return
		}
		tx.inFlight = true
		if lost {
			s.after(s.delay(), p, func() { p.m.Lost(id) })
		}
		s.after(duration, nil, func() {
			s.Writes++
			history := s.values[tx.key]
			s.values[tx.key] = append(history, committed{s.now, history[len(history)-1].value + 1})
			s.end(tx)
			if !lost {
				s.after(s.delay(), p, func() {
					p.m.Settle(s.clock(p), id)
					s.act(p)
				})
			}
		})
	})
}

func (s *sim) end(tx *transaction) {
	delete(s.open, tx)
	if s.locks[tx.key] == tx {
		delete(s.locks, tx.key)
	}
}
