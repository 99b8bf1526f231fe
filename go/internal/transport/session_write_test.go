package transport

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// While a peer does not read, senders do not block. Once it reads, all frames arrive in order, whether
// their sender or the writer has written them.
func TestSendersDoNotBlockAndTheOrderIsKept(t *testing.T) {
	eachWay(t, Limits{}, func(t *testing.T, server, client *node) {
		s := dial(t, client, server)
		if err := s.Send(kindHang); err != nil {
			t.Fatal(err)
		}
		const frames = 300
		pad := strings.Repeat("x", directSize/2)
		for i := range frames { // together more than any socket takes
			if err := s.Send(0, fmt.Appendf(nil, "%d ", i), []byte(pad)[:i%2*len(pad)]); err != nil {
				t.Fatal(err)
			}
		}
		close(server.hang)
		waitFor(t, "all frames", func() bool { _, _, messages, _ := server.seen(); return messages == 1+frames })
		server.recorder.mu.Lock()
		defer server.recorder.mu.Unlock()
		for i, message := range server.messages[1:] {
			if number, _, _ := strings.Cut(message, " "); number != fmt.Sprint(i) {
				t.Fatalf("frame %s came as number %d", number, i)
			}
		}
	})
}

// The frames of many senders at once arrive in each sender's order, and none is lost.
func TestManySendersAtOnce(t *testing.T) {
	eachWay(t, Limits{}, func(t *testing.T, server, client *node) {
		s := dial(t, client, server)
		const senders, frames = 8, 500
		var all sync.WaitGroup
		for who := range senders {
			all.Go(func() {
				for i := range frames {
					if err := s.Send(0, fmt.Appendf(nil, "%d %d", who, i)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		waitFor(t, "all frames", func() bool { _, _, messages, _ := server.seen(); return messages == senders*frames })
		next := make([]int, senders)
		server.recorder.mu.Lock()
		defer server.recorder.mu.Unlock()
		for _, message := range server.messages {
			var who, i int
			if _, err := fmt.Sscan(message, &who, &i); err != nil || next[who] != i {
				t.Fatalf("%q came when number %d was due: %v", message, next[who], err)
			}
			next[who]++
		}
	})
}
