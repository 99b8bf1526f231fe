package node

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/mesh"
	"guillotina_groupcache/internal/transport"
)

// sessionsOf opens raw sessions of as many processes without a row.
func sessionsOf(t *testing.T, p *process, n int) (conns []net.Conn) {
	t.Helper()
	for range n {
		conn := connect(t, p)
		must(t, newRawPeer(t).handshake(conn))
		conns = append(conns, conn)
	}
	return conns
}

// rawFrame is the header of a frame, as transport/wire_frame.go describes it.
func rawFrame(typ, kind byte, id uint64, size int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(size))
	return binary.BigEndian.AppendUint64(append(b, typ, kind), id)
}

const (
	rawMessage   = 1
	rawRequest   = 2
	rawHeartbeat = 5
)

// A process without a row may not send large frames: parts of frames that never arrive whole would be kept.
func TestInsidersBeginLargeFrames(t *testing.T) {
	in, writer, reader, key := attacked(t)
	before := heapInUse()
	const size = 15 << 20
	for _, conn := range sessionsOf(t, reader, 20) {
		if _, err := conn.Write(rawFrame(rawMessage, byte(mesh.FrameCoherence), 0, size)); err == nil {
			_, _ = conn.Write(make([]byte, size-1)) // as far as it is taken
		}
	}
	if grown := heapInUse() - before; grown > 100<<20 {
		t.Errorf("incomplete frames take %d bytes", grown)
	}
	overwritten(t, in, writer, reader, key)
}

// Answers wait for a peer that reads just fast enough to keep its session.
func TestInsidersReadSlowlyWhatTheyAskFor(t *testing.T) {
	db, slow := newDatabase(), settings{"lease": 20} // a session without a row goes on for four of them
	reader := open(t, db, with(settings{"listen": unixAddress(t)}, slow))
	together(t, reader)
	large := keyOf(reader, 1)
	reader.db.with(func() { reader.db.values[large] = string(make([]byte, 2<<20)) })
	reader.readServed(large)
	versioned, _ := reader.Databases.Version([]byte(large))
	keys := packKeys([]cache.VersionedKey{versioned, versioned, versioned, versioned})
	conns := sessionsOf(t, reader, 12)
	before, served := heapInUse(), reader.counts.served.Load()
	const each = 3
	for id := range uint64(each) {
		for _, conn := range conns {
			_, err := conn.Write(append(rawFrame(rawRequest, byte(mesh.FrameGet), id+1, len(keys)), keys...))
			must(t, err)
		}
	}
	for _, conn := range conns {
		go sip(conn)
	}
	eventually(t, "all is answered, or its session has ended", func() bool {
		ended := reader.mesh.Transport.Stats().Faults[transport.ReasonFlood]
		return (reader.counts.served.Load()-served)/4+each*ended >= uint64(each*len(conns))
	})
	eventually(t, "little waits", func() bool { return heapInUse()-before < 110<<20 })
	for _, conn := range conns {
		_ = conn.Close()
	}
	wantUnharmed(t, reader)
}

// sip reads, and sends heartbeats, just fast enough that the other side sees progress, until the
// connection ends.
func sip(conn net.Conn) {
	for buf := make([]byte, 64<<10); ; time.Sleep(500 * time.Millisecond) {
		if _, err := conn.Read(buf); err != nil {
			return
		}
		_, _ = conn.Write(rawFrame(rawHeartbeat, 0, 0, 0)) // else it is noticed by the next read
	}
}
