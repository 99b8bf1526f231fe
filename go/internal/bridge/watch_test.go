package bridge

import (
	"syscall"
	"testing"
	"time"
)

func newWatch(t *testing.T) *Watch {
	t.Helper()
	w, err := NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func TestAWatchIsReadableWhileOneOfItsDescriptorsIs(t *testing.T) {
	w, first, second := newWatch(t), newQueue(t), newQueue(t)
	called := map[*Queue]int{}
	removes := map[*Queue]func(){}
	for _, q := range []*Queue{first, second} {
		remove, err := w.Add(q.Watch.FD(), func() { called[q]++ })
		if err != nil {
			t.Fatal(err)
		}
		removes[q] = remove
	}
	if w.Ready(); readable(t, w.FD(), 0) || len(called) > 0 {
		t.Error("readable while nothing is")
	}
	first.Put(Cleared, 1)
	if !readable(t, w.FD(), time.Second) {
		t.Error("not readable while one is")
	}
	if w.Ready(); called[first] != 1 || called[second] != 0 {
		t.Errorf("called: %v", called)
	}
	// A removed descriptor is not called any more, though it is still readable.
	removes[first]()
	if w.Ready(); readable(t, w.FD(), 0) || called[first] != 1 {
		t.Error("a removed descriptor is watched")
	}
	second.Put(Cleared, 1)
	if w.Ready(); called[second] != 1 {
		t.Error("the other one is not watched any more")
	}
}

func TestAReusedDescriptorNumberIsAnotherDescriptor(t *testing.T) {
	w := newWatch(t)
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	remove, err := w.Add(pipe[0], func() { t.Error("the first one is called") })
	if err != nil {
		t.Fatal(err)
	}
	remove()
	again := 0
	if _, err := w.Add(pipe[0], func() { again++ }); err != nil {
		t.Fatal(err)
	}
	remove() // late: the descriptor number belongs to the second one now
	_, _ = syscall.Write(pipe[1], []byte{1})
	if w.Ready(); again != 1 {
		t.Errorf("the second one is called %d times", again)
	}
	_ = syscall.Close(pipe[1])
	_ = syscall.Close(pipe[0])
}

func TestACompletionBeforeADrainWakesNobody(t *testing.T) {
	q := newQueue(t)
	q.draining = true
	q.Put(Cleared, 1)
	q.Put(Cleared, 2)
	if readable(t, q.Watch.FD(), 0) {
		t.Error("readable, though Python is about to drain")
	}
	// The descriptor is readable for what did not fit.
	if n := q.Drain(make([]byte, headerSize)); n != headerSize || !readable(t, q.Watch.FD(), time.Second) {
		t.Errorf("drained %d bytes, and the descriptor is not readable for the rest", n)
	}
	q.draining = true
	q.Put(Cleared, 3, make([]byte, 100))
	if q.Drain(make([]byte, 2*headerSize)); !readable(t, q.Watch.FD(), time.Second) {
		t.Error("not readable with a completion that is larger than the buffer")
	}
	if q.Drain(make([]byte, 1024)); readable(t, q.Watch.FD(), 0) {
		t.Error("readable after the last entry")
	}
	q.Put(Cleared, 4)
	if !readable(t, q.Watch.FD(), time.Second) {
		t.Error("not readable with a later entry")
	}
}
