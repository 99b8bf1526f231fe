package transport

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// table is the members table of a test: the processes that have a row.
type table struct{ rows sync.Map }

func (r *table) listed(incarnation uint64) bool {
	_, ok := r.rows.Load(incarnation)
	return ok
}

func (r *table) post(n *node) { r.rows.Store(n.identity.Incarnation(), true) }

func (r *table) remove(n *node) { r.rows.Delete(n.identity.Incarnation()) }

// servedBy returns a node that listens and knows which processes have a row.
func servedBy(t *testing.T, rows *table, listen string, limits Limits) *node {
	return newNode(t, func(o *Options) {
		o.Listen, o.Secret, o.Limits, o.Listed = []string{listen}, Secret(testSecret), limits, rows.listed
	})
}

func secretNode(t *testing.T) *node {
	return newNode(t, func(o *Options) { o.Secret = Secret(testSecret) })
}

// flood opens sessions, each of another process, and keeps them.
func flood(t *testing.T, server *node, n int) (sessions []*Session) {
	t.Helper()
	for range n {
		sessions = append(sessions, dial(t, secretNode(t), server))
	}
	return sessions
}

func alive(sessions []*Session) (n int) {
	for _, s := range sessions {
		select {
		case <-s.Done():
		default:
			n++
		}
	}
	return n
}

func waitDone(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("it has not ended")
	}
}

// However many sessions processes without a row open, a member gets a session and keeps it.
func TestUnlistedSessionsNeverEvictAMember(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", socketPath(t)} {
		noLeaks(t)
		rows := &table{}
		server := servedBy(t, rows, listen, Limits{Sessions: 24, Unlisted: 8})
		early, late := secretNode(t), secretNode(t)
		rows.post(early)
		rows.post(late)
		first := dial(t, early, server)
		unlisted := flood(t, server, 40)
		waitFor(t, "unlisted sessions are bounded, half of them for one source", func() bool {
			return server.Stats().Sessions == 1+4 && alive(unlisted) == 4
		})
		if alive(unlisted[:30]) != 0 {
			t.Error("an old unlisted session was kept, and a new one evicted")
		}
		waitFault(t, server, ReasonBusy)
		call(t, first, "it was there before")
		call(t, dial(t, late, server), "it comes after")
	}
}

// When Limits.Sessions is reached, unlisted sessions are evicted for members and for this process's
// own sessions.
func TestAFullTransportEvictsUnlistedSessionsForMembers(t *testing.T) {
	noLeaks(t)
	rows := &table{}
	server := servedBy(t, rows, "127.0.0.1:0", Limits{Sessions: 4, Unlisted: 8})
	unlisted := flood(t, server, 4)
	waitFor(t, "it is full", func() bool { return server.Stats().Sessions == 4 })
	member, other := secretNode(t), newNode(t, func(o *Options) { o.Listen, o.Secret = []string{"127.0.0.1:0"}, Secret(testSecret) })
	rows.post(member)
	call(t, dial(t, member, server), "a member")
	call(t, dial(t, server, other), "an own session")
	dialLane(t, server, other, eventLoop(t))
	waitFor(t, "three are evicted", func() bool { return alive(unlisted) == 1 && server.Stats().Sessions == 4 })
}

func TestASessionIsListedOnceItsProcessHasARow(t *testing.T) {
	noLeaks(t)
	rows := &table{}
	server := servedBy(t, rows, "127.0.0.1:0", Limits{Unlisted: 4})
	joiner := secretNode(t)
	s := dial(t, joiner, server)
	rows.post(joiner)
	flood(t, server, 8)
	call(t, s, "it has a row")
}

// Of one process the newest sessions are kept: it has proved its incarnation, so only its own are evicted.
func TestTheSessionsOfOneProcessAreBounded(t *testing.T) {
	eachWay(t, Limits{PerProcess: 3}, func(t *testing.T, server, client *node) {
		other := newNode(t, func(o *Options) { o.Secret = client.secret })
		before := dial(t, other, server)
		lane := dialLane(t, client, server, eventLoop(t))
		wantEcho(t, lane, []byte("the first"))
		var sessions []*Session
		for range 4 {
			s := dial(t, client, server)
			call(t, s, "it has begun at the other side too")
			sessions = append(sessions, s)
		}
		waitDone(t, lane.Done())
		waitDone(t, sessions[0].Done())
		call(t, sessions[1], "the third last")
		call(t, sessions[3], "the last")
		call(t, before, "another process")
		waitFor(t, "the older ones are gone", func() bool { return server.Stats().Sessions == 4 })
	})
}

// Sessions of one source are evicted for another source, so that a process that starts gets in.
func TestTheBusiestSourceIsEvicted(t *testing.T) {
	list := []string{"a", "b", "b", "c", "b", "a"}
	if i := oldestOfBusiest(list, func(source string) string { return source }); i != 1 {
		t.Errorf("number %d would be evicted", i)
	}
	noLeaks(t)
	rows := &table{}
	server := newNode(t, func(o *Options) {
		o.Listen, o.Self.Address, o.Secret = []string{"0.0.0.0:0"}, "127.0.0.1", Secret(testSecret)
		o.Limits, o.Listed = Limits{Unlisted: 8}, rows.listed
	})
	_, port, _ := net.SplitHostPort(server.listener.Addr().String())
	from := func(ip string) net.Conn {
		conn := tls.Client(connFrom(t, ip, port), server.security.server)
		err := handshakeRaw(conn, newIdentity(t), true)
		if err == nil {
			err = readVerdict(conn)
		}
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	open := func(conns []net.Conn) (n int) {
		for _, conn := range conns {
			_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) { // or a heartbeat
				n++
			}
		}
		return n
	}
	var busy []net.Conn
	for range 4 {
		busy = append(busy, from("127.0.0.2"))
	}
	var all []net.Conn
	for i := range 4 {
		all = append(all, from(fmt.Sprintf("127.0.1.%d", i+1)))
	}
	for i := range 3 { // there are 8 now
		all = append(all, from(fmt.Sprintf("127.0.2.%d", i+1)))
	}
	waitFor(t, "the busy source has one session left", func() bool { return server.Stats().Faults[ReasonBusy] == 3 })
	if open(busy) != 1 || open(all) != len(all) {
		t.Errorf("%d of %d sources with one session have kept it, the busy source %d", open(all), len(all), open(busy))
	}
}

func TestASessionWithoutARowIsClosed(t *testing.T) {
	noLeaks(t)
	rows := &table{}
	server := servedBy(t, rows, "127.0.0.1:0", Limits{})
	member, other := secretNode(t), secretNode(t)
	rows.post(member)
	s, kept := dial(t, other, server), dial(t, member, server)
	lane := dialLane(t, other, server, eventLoop(t))
	waitFor(t, "all are there", func() bool { return server.Stats().Sessions == 3 })
	server.CloseUnlisted(time.Hour)
	call(t, s, "it is early")
	time.Sleep(time.Millisecond)
	server.CloseUnlisted(time.Millisecond)
	waitDone(t, s.Done())
	waitDone(t, lane.Done())
	waitFault(t, server, ReasonUnlisted)
	call(t, kept, "it has a row")
	rows.remove(member)
	server.CloseUnlisted(time.Hour) // counted from when it last had one
	call(t, kept, "it had a row just now")
}

func TestSessionsAreBounded(t *testing.T) {
	noLeaks(t)
	server, client := newServer(t, Limits{Sessions: 2}), newNode(t, nil)
	first := dial(t, client, server)
	dial(t, client, server)
	server.session(t, 1)
	waitClosed(t, handshakenConn(t, server))
	waitFault(t, server, ReasonBusy)
	call(t, first, "still working")
}
