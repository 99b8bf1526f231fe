package coherence

import (
	"flag"
	"fmt"
	"hash/fnv"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A simulated cluster of the real state machine: a database that is the referee, a network that delays, cuts
// and loses, clocks that drift, and processes that stop, end and start, all drawn from one seed. Checked at
// every read: the database held the value at some instant between the read's begin and its end. Checked once
// all faults have ended: a commit never waits for long, and in the end every process serves, nothing is in
// doubt, and all tables are equal, so that versioned keys are shared.

var (
	simRuns  = flag.Int("sim.runs", 300, "random schedules to run")
	simSeed  = flag.Uint64("sim.seed", 1, "first seed")
	simStory = flag.Bool("sim.story", false, "run the first seed only, and print every step")
)

// tally is what happened in schedules.
type tally struct {
	Reads, Hits, Loads, Bypasses     int
	Announced, Commits, Pushes, Lost int
	Outside, Collapsed, Forgotten    int
	Starts, Messages, Differed       int
	Strikes, Naps, Deletions         int
	Insiders                         int
	Faults                           [faultKinds]int
	Healed, Waited                   time.Duration // the longest, when all faults had ended
}

func (t *tally) add(o *tally) {
	t.Reads += o.Reads
	t.Hits += o.Hits
	t.Loads += o.Loads
	t.Bypasses += o.Bypasses
	t.Announced += o.Announced
	t.Commits += o.Commits
	t.Pushes += o.Pushes
	t.Lost += o.Lost
	t.Outside += o.Outside
	t.Collapsed += o.Collapsed
	t.Forgotten += o.Forgotten
	t.Differed += o.Differed
	t.Starts += o.Starts
	t.Messages += o.Messages
	t.Strikes += o.Strikes
	t.Naps += o.Naps
	t.Deletions += o.Deletions
	t.Insiders += o.Insiders
	for kind, n := range o.Faults {
		t.Faults[kind] += n
	}
	t.Healed, t.Waited = max(t.Healed, o.Healed), max(t.Waited, o.Waited)
}

func (t *tally) String() string {
	var faults []string
	for kind, n := range t.Faults {
		faults = append(faults, fmt.Sprint(faultNames[kind], " ", n))
	}
	return fmt.Sprintf(`
	reads %d: hits %d, loads %d, bypasses %d
	transactions %d: committed %d, values pushed %d
	written from outside %d: notes deleted %d, notes over everything instead of others %d
	starts %d, messages %d, joins because of other versions %d
	faults: %s
	at steps of processes %d, in the middle of reads %d; rows deleted %d; keys that lost commits %d
	when all faults had ended: a commit waited for at most %v, all served after at most %v`,
		t.Reads, t.Hits, t.Loads, t.Bypasses, t.Announced, t.Commits, t.Pushes, t.Outside, t.Forgotten, t.Collapsed,
		t.Starts, t.Messages, t.Differed,
		strings.Join(faults, ", "), t.Strikes, t.Naps, t.Deletions, t.Lost, t.Waited, t.Healed)
}

func TestRandomSchedules(t *testing.T) {
	if *simStory {
		printStory(t, *simSeed)
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	begun := time.Now()
	var total tally
	var done, failed int
	seen := make(transitions)
	var mu sync.Mutex
	inParallel(*simRuns, func(i int) bool {
		seed := *simSeed + uint64(i)
		s := newSim(seed, nothing, nil)
		err := s.schedule()
		mu.Lock()
		defer mu.Unlock()
		total.add(&s.tally)
		seen.add(s.seen)
		if err != nil {
			failed++
			t.Errorf("seed %d (-run TestRandomSchedules -sim.seed=%d -sim.story): %v", seed, seed, err)
		}
		if done++; done%20000 == 0 && done < *simRuns {
			t.Logf("%d of %d schedules", done, *simRuns)
		}
		return failed < 10
	})
	t.Logf("%d schedules in %v: %v", done, time.Since(begun).Round(time.Second), &total)
	often, rarely := readStates(t)
	rarely.add(often)
	for _, problem := range compareStates(nil, rarely, seen) {
		t.Error(problem)
	}
	if done >= 100 && (total.Hits == 0 || total.Commits == 0 || total.Pushes == 0 || total.Loads == 0 || total.Forgotten == 0) {
		t.Error("the schedules show nothing")
	}
}

func printStory(t *testing.T, seed uint64) {
	s := newSim(seed, nothing, nil)
	s.story = os.Stdout
	if err := s.schedule(); err != nil {
		t.Error(err)
	}
}

// inParallel calls f with 0 to n-1 on all cores until one call returns false.
func inParallel(n int, f func(i int) bool) {
	var next atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !stop.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if !f(i) {
					stop.Store(true)
				}
			}
		})
	}
	wg.Wait()
}

func TestASeedRunsTheSameScheduleAgain(t *testing.T) {
	for seed := range uint64(20) {
		var digests [2]uint64
		for i := range digests {
			story := fnv.New64a()
			s := newSim(seed, nothing, nil)
			s.story = story
			if err := s.schedule(); err != nil {
				t.Error(err)
			}
			digests[i] = story.Sum64()
		}
		if digests[0] != digests[1] {
			t.Errorf("seed %d ran two schedules", seed)
		}
	}
}
