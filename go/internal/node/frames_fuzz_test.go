package node

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// tap forwards connections, and keeps what the dialling sides sent.
type tap struct {
	listener net.Listener
	to       string
	wg       sync.WaitGroup

	mu      sync.Mutex
	streams [][]byte
}

// newTap begins to forward to a TCP address. It ends with the test.
func newTap(t testing.TB, to string) *tap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tapped := &tap{listener: listener, to: to}
	tapped.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			tapped.wg.Go(func() { tapped.forward(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		tapped.wg.Wait()
	})
	return tapped
}

func (tap *tap) forward(from net.Conn) {
	defer func() { _ = from.Close() }()
	to, err := net.Dial("tcp", tap.to)
	if err != nil {
		return
	}
	tap.mu.Lock()
	stream := len(tap.streams)
	tap.streams = append(tap.streams, nil)
	tap.mu.Unlock()
	tap.wg.Go(func() {
		_, _ = io.Copy(from, to)
		_ = from.Close()
	})
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		tap.mu.Lock()
		tap.streams[stream] = append(tap.streams[stream], buf[:n]...)
		tap.mu.Unlock()
		if _, failed := to.Write(buf[:n]); err != nil || failed != nil {
			_ = to.Close()
			return
		}
	}
}

// recorded is what processes say to each other when they join, read and write, and one of them
// leaves: a stream for each connection.
func recorded(t testing.TB) [][]byte {
	t.Helper()
	own := tcpAddress(t)
	tapped := newTap(t, own)
	db := newDatabase()
	a := open(t, db, settings{"listen": own, "advertise": tapped.listener.Addr().String()})
	b := open(t, db, settings{"listen": unixAddress(t)})
	together(t, a, b)
	for i := range 20 {
		key := fmt.Sprint("key ", i)
		b.write(key, strings.Repeat("v", i), i%5 > 0)
		b.get(key)
		a.get(key)
	}
	b.Leave()
	b.end()
	a.end()
	tapped.mu.Lock()
	defer tapped.mu.Unlock()
	var streams [][]byte
	for _, stream := range tapped.streams {
		if len(stream) > 100 {
			streams = append(streams, stream[:min(len(stream), 8<<10)])
		}
	}
	if len(streams) == 0 {
		t.Fatal("nothing was recorded")
	}
	return streams
}

// attack sends bytes to a process as a client would, and waits until that has closed the
// connection.
func attack(t testing.TB, p *process, data []byte) {
	t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(p.address, "unix:"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(data); err == nil {
		_ = conn.(*net.UnixConn).CloseWrite()
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection was not closed after %q", data)
	}
}

// wantAlive checks that a process still serves, whatever it thinks of the cluster now.
func wantAlive(t testing.TB, p *process, s *stranger) {
	t.Helper()
	session := s.dial(t, p)
	if _, err := session.Call(t.Context(), frameStats, nil); err != nil {
		t.Fatalf("it does not answer any more: %v", err)
	}
	session.Close(nil)
}

func FuzzPeerPort(f *testing.F) {
	for _, stream := range recorded(f) {
		f.Add(stream)
		f.Add(stream[:len(stream)/2])
	}
	p := cluster(f, newDatabase(), unixAddress(f))[0]
	good := newStranger(f, 99, "")
	attacks := 0
	f.Fuzz(func(t *testing.T, data []byte) {
		attack(t, p, data)
		if attacks++; attacks%100 == 0 {
			wantAlive(t, p, good)
		}
	})
}

// mutated cuts, changes, repeats and exchanges parts of a stream; often it leaves the hello as
// it is, so that more than that is tried.
func mutated(r *rand.Rand, stream []byte, streams [][]byte) []byte {
	data := append([]byte(nil), stream...)
	first := 0
	if r.IntN(4) > 0 {
		first = 30 // hellos are about as long
	}
	for range 1 + r.IntN(4) {
		at := min(first+r.IntN(len(data)), len(data)-1)
		switch r.IntN(5) {
		case 0:
			data = data[:at+1]
		case 1:
			data[at] ^= 1 << r.IntN(8)
		case 2:
			data[at] = byte(r.Uint32())
		case 3:
			data = append(data, data[at:]...)
		case 4:
			other := streams[r.IntN(len(streams))]
			data = append(data[:at+1], other[r.IntN(len(other)):]...)
		}
		data = data[:min(len(data), 16<<10)]
	}
	return data
}

func TestMutatedFramesLeaveNothingBehind(t *testing.T) {
	streams := recorded(t)
	db := newDatabase()
	p := cluster(t, db, unixAddress(t))[0]
	good := newStranger(t, 99, "")
	wantAlive(t, p, good)
	eventually(t, "no session", func() bool { return p.transport.Stats().Sessions == 0 })
	goroutines, files, heap := runtime.NumGoroutine(), openFiles(t), heapInUse()
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 500 {
		attack(t, p, mutated(r, streams[i%len(streams)], streams))
		if i%50 == 0 {
			wantAlive(t, p, good)
		}
	}
	if stats := p.transport.Stats(); stats.Accepted < 100 || len(stats.Faults) < 2 {
		t.Errorf("few of the mutations went deep: %d sessions, faults %v", stats.Accepted, stats.Faults)
	}
	eventually(t, "nothing left behind", func() bool {
		stats := p.transport.Stats()
		return stats.Sessions == 0 && stats.Handshakes == 0 && p.linkCount() == 0 &&
			runtime.NumGoroutine() <= goroutines && openFiles(t) <= files
	})
	if grown := heapInUse() - heap; grown > 32<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	// What was in doubt because of a writer that nobody knows is settled by the database's word.
	eventually(t, "it caches again", func() bool {
		p.write("k", "v", true)
		return p.get("k") == "v"
	})
}

func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func heapInUse() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
