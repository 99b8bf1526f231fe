package node

import (
	"crypto/ed25519"
	"encoding/binary"
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

	"guillotina_groupcache/internal/mesh"
)

// tap forwards connections, and keeps what the dialling sides sent.
type tap struct {
	listener net.Listener
	address  string
	to       string
	wg       sync.WaitGroup

	mu      sync.Mutex
	streams [][]byte
}

// newTap begins to forward to a unix socket. It ends with the test.
func newTap(t testing.TB, to string) *tap {
	t.Helper()
	address := unixAddress(t)
	listener, err := net.Listen("unix", strings.TrimPrefix(address, "unix:"))
	if err != nil {
		t.Fatal(err)
	}
	tapped := &tap{listener: listener, address: address, to: strings.TrimPrefix(to, "unix:")}
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
	to, err := net.Dial("unix", tap.to)
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

// recorded returns what processes send to each other when they join, read and write, and one of them
// leaves: a stream for each connection.
func recorded(t testing.TB) [][]byte {
	t.Helper()
	own := unixAddress(t)
	tapped := newTap(t, own)
	db := newDatabase()
	a := open(t, db, settings{"listen": own, "advertise": tapped.address})
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
		if len(stream) > 300 { // more than a handshake
			streams = append(streams, stream[:min(len(stream), 8<<10)])
		}
	}
	if len(streams) == 0 {
		t.Fatal("nothing was recorded")
	}
	return streams
}

// attack sends bytes to a process as a client would, after an honest handshake by r unless that is nil,
// and waits until the process has closed the connection.
func attack(t testing.TB, p *process, r *rawPeer, data []byte) {
	t.Helper()
	conn := connect(t, p)
	defer func() { _ = conn.Close() }()
	if r != nil {
		if err := r.handshake(conn); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Write(data); err == nil {
		_ = conn.(*net.UnixConn).CloseWrite()
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection was not closed after %q", data)
	}
}

// wantAlive checks that a process still answers requests.
func wantAlive(t testing.TB, p *process, s *fakePeer) {
	t.Helper()
	session := s.dial(t, p)
	if _, err := session.Call(t.Context(), mesh.FrameStats, nil); err != nil {
		t.Fatalf("it does not answer any more: %v", err)
	}
	session.Close(nil)
}

func FuzzPeerPort(f *testing.F) {
	for _, stream := range recorded(f) {
		for _, part := range [][]byte{stream, frames(stream)} {
			f.Add(part)
			f.Add(part[:len(part)/2])
		}
	}
	raw := newRawPeer(f)
	p := cluster(f, newDatabase(), unixAddress(f))[0]
	good := newFakePeer(f, "")
	attacks := 0
	f.Fuzz(func(t *testing.T, data []byte) {
		attack(t, p, nil, data)
		attack(t, p, raw, data)
		if attacks++; attacks%100 == 0 {
			wantAlive(t, p, good)
		}
	})
}

// frames returns what follows the hello and the proof in a stream.
func frames(stream []byte) []byte {
	handshake := rawHelloSize + int(binary.BigEndian.Uint16(stream[rawHelloSize-2:])) + ed25519.SignatureSize
	return stream[handshake:]
}

// mutated cuts, changes, repeats and exchanges parts of a stream.
func mutated(r *rand.Rand, stream []byte, streams [][]byte) []byte {
	data := append([]byte(nil), stream...)
	for range 1 + r.IntN(4) {
		at := r.IntN(len(data))
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
	good := newFakePeer(t, "")
	wantAlive(t, p, good)
	eventually(t, "no session", func() bool { return p.mesh.Transport.Stats().Sessions == 0 })
	goroutines, files, heap := runtime.NumGoroutine(), openFiles(t), heapInUse()
	r, raw := rand.New(rand.NewPCG(1, 2)), newRawPeer(t)
	for i := range 500 {
		if stream := streams[i%len(streams)]; r.IntN(4) == 0 {
			attack(t, p, nil, mutated(r, stream, streams))
		} else { // the frames after the handshake are mutated too
			attack(t, p, raw, mutated(r, frames(stream), streams))
		}
		if i%50 == 0 {
			wantAlive(t, p, good)
		}
	}
	if stats := p.mesh.Transport.Stats(); stats.Accepted < 100 || len(stats.Faults) < 2 {
		t.Errorf("few of the mutations went deep: %d sessions, faults %v", stats.Accepted, stats.Faults)
	}
	eventually(t, "nothing left behind", func() bool {
		stats := p.mesh.Transport.Stats()
		return stats.Sessions == 0 && stats.PendingHandshakes == 0 && p.peerCount() == 0 &&
			runtime.NumGoroutine() <= goroutines && openFiles(t) <= files
	})
	if grown := heapInUse() - heap; grown > 32<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	// Buckets in doubt because of an unknown writer are settled when the database says that it is over.
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
