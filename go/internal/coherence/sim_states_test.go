package coherence

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The states that processes and their rows go through, compared with the tables of states.md.

var phaseNames = []string{"unlisted", "posting", "awaitingAcks", "copying", "booting", "entering", "joined", "left"}

// states is the phase of a process and the state of its row; 0: it has no row.
type states struct {
	phase phase
	row   State
}

func (s states) String() string { return fmt.Sprint(phaseNames[s.phase], "/", s.row) }

// transition is from one pair of states to another; how often it was seen is counted.
type (
	transition  [2]states
	transitions map[transition]int
)

func (seen transitions) add(more transitions) {
	for t, n := range more {
		seen[t] += n
	}
}

// follow counts what has changed of the states of a process. It is not followed while its row is what no
// step of a process has made it, after a failover or a late statement.
func (s *sim) follow(p *process) {
	if !p.alive {
		return
	}
	now := states{phase: p.m.join.phase}
	if r := s.row(p.id); r != nil {
		now.row = r.State
	}
	if now == (states{awaitingAcks, Joining}) {
		p.astray = false
	}
	if p.states != now && !p.astray {
		s.seen[transition{p.states, now}]++
	}
	p.states = now
}

func (s *sim) followAll() {
	for _, l := range s.places {
		if l.process != nil {
			s.follow(l.process)
		}
	}
}

// strays is for a process whose row is turned by something that is not one of its steps.
func (p *process) strays() {
	if p != nil {
		p.astray = true
	}
}

// restless has everything that changes the states of a process, and little else.
func restless(o *options) {
	o.only(map[fault]int{databaseSlow: 8, cutDatabaseOneWay: 8, cutDatabase: 2, failover: 3, putOut: 6, leave: 4, kill: 4,
		stop: 2, deleteRow: 3, deleteRows: 2, dropTables: 1})
	o.hosts, o.clients, o.size, o.keys, o.writes = 1, 0, 3, 1, 3
	o.faultEvery, o.restart = 300*time.Millisecond, [2]time.Duration{10 * time.Millisecond, 60 * time.Millisecond}
	o.length, o.loadAfter, o.codec, o.naps, o.strike = 12*time.Second, 0, false, 0, 2000
}

func TestExactlyTheTransitionsOfTheDiagramOccur(t *testing.T) {
	if raced {
		t.Skip("takes minutes with the race detector")
	}
	often, rarely := readStates(t)
	seen := make(transitions)
	var mu sync.Mutex
	inParallel(1500, func(i int) bool {
		s := newSim(uint64(1_000_000+i), nothing, restless)
		_ = s.schedule() // the other tests are about what it finds
		mu.Lock()
		defer mu.Unlock()
		seen.add(s.seen)
		return true
	})
	for _, problem := range compareStates(often, rarely, seen) {
		t.Error(problem)
	}
}

// compareStates says which transitions were seen and are in no table, and which were not seen often.
func compareStates(often, rarely, seen transitions) (problems []string) {
	for t := range seen {
		if often[t]+rarely[t] == 0 {
			problems = append(problems, fmt.Sprintf("%v -> %v occurs and is not in states.md", t[0], t[1]))
		}
	}
	for t := range often {
		if seen[t] == 0 {
			problems = append(problems, fmt.Sprintf("%v -> %v is in states.md and does not occur", t[0], t[1]))
		}
	}
	slices.Sort(problems)
	return problems
}

// readStates reads the tables of states.md: those transitions marked with x, and those marked with r.
func readStates(t *testing.T) (often, rarely transitions) {
	text, err := os.ReadFile("states.md")
	if err != nil {
		t.Fatal(err)
	}
	often, rarely = make(transitions), make(transitions)
	var columns []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|-") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if cells[0] == "from" {
			columns = cells[2:]
			continue
		}
		for i, mark := range cells[2:] {
			from, to := parseStates(t, cells[0], columns[i]), parseStates(t, cells[1], columns[i])
			switch mark {
			case "x":
				often[transition{from, to}]++
			case "r":
				rarely[transition{from, to}]++
			case "":
			default:
				t.Fatalf("states.md: a cell says %q, x, r and nothing are allowed", mark)
			}
		}
	}
	if len(often) == 0 {
		t.Fatal("states.md has no tables")
	}
	return often, rarely
}

// parseStates takes the names of a phase and of a row's state, in any order.
func parseStates(t *testing.T, one, other string) states {
	if slices.Contains(phaseNames, other) {
		one, other = other, one
	}
	number := slices.Index(phaseNames, one)
	var row State
	if err := row.UnmarshalText([]byte(other)); err != nil || number < 0 || row == 0 && other != State(0).String() {
		t.Fatalf("states.md: %q and %q are not a phase and a state", one, other)
	}
	return states{phase(number), row}
}

func TestAMissingAndAnInventedTransitionAreFound(t *testing.T) {
	often, rarely := readStates(t)
	all := maps.Clone(often)
	all.add(rarely)
	if problems := compareStates(often, rarely, all); len(problems) > 0 {
		t.Errorf("the tables themselves: %v", problems)
	}
	gone := transition{{entering, In}, {joined, In}}
	fewer := maps.Clone(often)
	delete(fewer, gone)
	if problems := compareStates(fewer, rarely, all); len(problems) != 1 {
		t.Errorf("a transition that is not in the table: %v", problems)
	}
	fewer[transition{{joined, In}, {entering, In}}]++
	if problems := compareStates(fewer, rarely, often); len(problems) != 2 {
		t.Errorf("and one that does not occur: %v", problems)
	}
}
