package mesh

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// patience bounds every wait of these tests. None asserts that anything is faster.
const patience = 30 * time.Second

// eventually waits until a condition is true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// noLeaks checks at the end of the test that as many goroutines run as now.
func noLeaks(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() { eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before }) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// journal keeps log lines.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) log(level, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, level+": "+text)
}

// count returns how many lines contain a part.
func (j *journal) count(part string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range j.lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// machine is a real state machine whose actions are dropped.
type machine struct {
	sync.Mutex
	*coherence.Machine
}

func (m *machine) Input(f func(*coherence.Machine, coherence.Time)) {
	m.Lock()
	defer m.Unlock()
	f(m.Machine, coherence.Time(time.Now().UnixNano()))
	m.Actions()
}

func (m *machine) InputGuarded(f func(*coherence.Machine, coherence.Time)) { m.Input(f) }

// noFrames is a handler that takes no frames.
type noFrames struct{ *Mesh }

func (noFrames) Message(*transport.Session, transport.FrameKind, []byte)                      {}
func (noFrames) Request(*transport.Session, transport.FrameKind, []byte, func([]byte, error)) {}

// noWatch watches nothing.
type noWatch struct{}

func (noWatch) Add(int, func()) (func(), error) { return func() {}, nil }

// open opens and starts a mesh. It is closed at the end of the test.
func open(t testing.TB, o Options) (*Mesh, *journal) {
	t.Helper()
	var err error
	o.Transport.Identity, err = transport.NewIdentity()
	must(t, err)
	config := coherence.Config{Incarnation: coherence.Incarnation(o.Transport.Identity.Incarnation()), Lease: time.Second,
		Random: func() uint64 { return 2 }}
	table := coherence.NewTable(make([]uint64, coherence.TableHeader+8))
	j, handler := new(journal), new(noFrames)
	var wg sync.WaitGroup
	life, stop := context.WithCancel(context.Background())
	o.Machine, o.Watch, o.Transport.Handler = &machine{Machine: coherence.New(config, table, 1)}, noWatch{}, handler
	o.Transport.Log, o.Life, o.Go, o.Lease = j.log, life, wg.Go, time.Second
	m, err := Open(o)
	must(t, err)
	handler.Mesh = m
	t.Cleanup(func() {
		stop()
		m.Close()
		wg.Wait()
		m.ReleaseLiveness()
	})
	must(t, m.Start())
	return m, j
}

func unixAddress(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gc")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return "unix:" + filepath.Join(dir, "s")
}
