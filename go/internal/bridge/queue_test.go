package bridge

import (
	"bytes"
	"encoding/binary"
	"sync"
	"syscall"
	"testing"
	"time"

	"guillotina_groupcache/internal/cache"
)

func newQueue(t *testing.T) *Queue {
	q, err := NewQueue()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

// readable reports whether a descriptor becomes readable within a time.
func readable(t *testing.T, fd int, wait time.Duration) bool {
	t.Helper()
	set := &syscall.FdSet{}
	set.Bits[fd/64] |= 1 << (fd % 64)
	timeout := syscall.NsecToTimeval(int64(wait))
	n, err := syscall.Select(fd+1, set, nil, nil, &timeout)
	if err != nil {
		t.Fatal(err)
	}
	return n == 1
}

func TestEntriesComeOutWholeAndInOrder(t *testing.T) {
	q := newQueue(t)
	q.Put(Values, 7, []byte("a\x00b"), []byte("c"))
	q.Put(Log, 1<<63, nil)
	buf := make([]byte, 1024)
	n := q.Drain(buf)
	if n != headerSize+4+headerSize {
		t.Fatalf("drained %d bytes", n)
	}
	first, second := buf[:headerSize+4], buf[headerSize+4:n]
	if CompletionKind(first[4]) != Values || binary.LittleEndian.Uint64(first[8:]) != 7 || !bytes.Equal(first[headerSize:], []byte("a\x00bc")) {
		t.Errorf("first entry is %v", first)
	}
	if CompletionKind(second[4]) != Log || binary.LittleEndian.Uint64(second[8:]) != 1<<63 {
		t.Errorf("second entry is %v", second)
	}
}

func TestDescriptorIsReadableWhileEntriesWait(t *testing.T) {
	q := newQueue(t)
	if readable(t, q.Watch.FD(), 0) {
		t.Error("readable while empty")
	}
	q.Put(Cleared, 1)
	q.Put(Cleared, 2)
	if !readable(t, q.Watch.FD(), time.Second) {
		t.Error("not readable with entries")
	}
	buf := make([]byte, headerSize)
	if q.Drain(buf); !readable(t, q.Watch.FD(), time.Second) {
		t.Error("not readable with one entry left")
	}
	if q.Drain(buf); readable(t, q.Watch.FD(), 0) {
		t.Error("readable after the last entry")
	}
	if n := q.Drain(buf); n != 0 {
		t.Errorf("drained %d bytes of nothing", n)
	}
}

func TestAnEntryLargerThanTheBufferSaysWhatItNeeds(t *testing.T) {
	q := newQueue(t)
	q.Put(Values, 1, make([]byte, 100))
	if n := q.Drain(make([]byte, 64)); n != -(headerSize + 100) {
		t.Errorf("got %d", n)
	}
	if n := q.Drain(make([]byte, headerSize+100)); n != headerSize+100 {
		t.Errorf("got %d", n)
	}
}

func TestAFullOrClosedQueueRefuses(t *testing.T) {
	q := newQueue(t)
	big := make([]byte, maxBytes/2)
	if !q.Put(Values, 1, big) || q.Put(Values, 2, big) {
		t.Error("the bound does not hold")
	}
	q.Close()
	if q.Put(Values, 3) || q.Drain(make([]byte, 1024)) != 0 {
		t.Error("a closed queue goes on")
	}
}

// A deferred completion is not overtaken by a later one that would fit.
func TestDeferredCompletionsComeInOrder(t *testing.T) {
	q := newQueue(t)
	big := make([]byte, maxBytes-headerSize)
	q.Put(Values, 1, big)
	q.Deliver(Cleared, 2, nil)
	q.FlushDeferred()
	if n := q.Drain(make([]byte, maxBytes)); n != maxBytes {
		t.Fatalf("drained %d bytes of a full queue", n)
	}
	q.Deliver(Cleared, 3, nil)
	buf := make([]byte, 1024)
	if n := q.Drain(buf); n != 0 {
		t.Errorf("%d bytes have overtaken a deferred completion", n)
	}
	q.FlushDeferred()
	q.Deliver(Cleared, 4, nil)
	if n := q.Drain(buf); n != 3*headerSize || buf[8] != 2 || buf[headerSize+8] != 3 || buf[2*headerSize+8] != 4 {
		t.Errorf("drained %v", buf[:max(n, 0)])
	}
}

// A read whose values do not fit is answered without them.
func TestResultsWithoutRoomForTheirValuesAreAnsweredEmpty(t *testing.T) {
	q := newQueue(t)
	q.Put(Values, 1, make([]byte, maxBytes-headerSize-100))
	q.DeliverResults(2, []cache.Result{{Value: make([]byte, 1000), Source: cache.Own}, {Value: []byte("v"), Source: cache.Own}})
	buf := make([]byte, maxBytes)
	n := q.Drain(buf)
	results, err := UnpackResults(buf[maxBytes-100+headerSize : n])
	if err != nil || len(results) != 2 || results[0].Source != cache.Nowhere || results[1].Source != cache.Nowhere {
		t.Errorf("%v, %v", results, err)
	}
}

func TestManyPutAndOneDrains(t *testing.T) {
	q := newQueue(t)
	const writers, each = 8, 500
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				q.Put(Values, uint64(w*each+i))
			}
		})
	}
	seen := make(map[uint64]bool)
	buf := make([]byte, 64*headerSize)
	for len(seen) < writers*each {
		if !readable(t, q.Watch.FD(), 5*time.Second) {
			t.Fatalf("nothing comes after %d entries", len(seen))
		}
		n := q.Drain(buf)
		for at := 0; at < n; at += headerSize {
			seen[binary.LittleEndian.Uint64(buf[at+8:])] = true
		}
	}
	wg.Wait()
}
