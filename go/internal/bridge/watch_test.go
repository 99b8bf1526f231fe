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
		remove, err := w.Add(q.FD(), func() { called[q]++ })
		if err != nil {
			t.Fatal(err)
		}
		removes[q] = remove
	}
	if w.Ready(); readable(t, w.FD(), 0) || len(called) > 0 {
		t.Error("readable while nothing is")
	}
	first.Put(Passed, 1)
	if !readable(t, w.FD(), time.Second) {
		t.Error("not readable while one is")
	}
	if w.Ready(); called[first] != 1 || called[second] != 0 {
		t.Errorf("called: %v", called)
	}
	// What is removed is no more told, though it is still readable.
	removes[first]()
	if w.Ready(); readable(t, w.FD(), 0) || called[first] != 1 {
		t.Error("a removed descriptor is watched")
	}
	second.Put(Passed, 1)
	if w.Ready(); called[second] != 1 {
		t.Error("the other one is not watched any more")
	}
}

func TestANumberThatComesAgainIsAnotherDescriptor(t *testing.T) {
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
	remove() // late, and of the number that another one has now
	_, _ = syscall.Write(pipe[1], []byte{1})
	if w.Ready(); again != 1 {
		t.Errorf("the second one is called %d times", again)
	}
	_ = syscall.Close(pipe[1])
	_ = syscall.Close(pipe[0])
}

func TestWhatIsPutWhilePythonComesWakesNobody(t *testing.T) {
	q := newQueue(t)
	q.Attend()
	q.Put(Passed, 1)
	q.Put(Passed, 2)
	if readable(t, q.FD(), 0) {
		t.Error("readable, though somebody is about to drain")
	}
	// What did not fit is told of.
	if n := q.Drain(make([]byte, headerSize)); n != headerSize || !readable(t, q.FD(), time.Second) {
		t.Errorf("drained %d bytes, and the rest is not told of", n)
	}
	q.Attend()
	q.Put(Passed, 3, make([]byte, 100))
	if q.Drain(make([]byte, 2*headerSize)); !readable(t, q.FD(), time.Second) {
		t.Error("what is too large for the buffer is not told of")
	}
	if q.Drain(make([]byte, 1024)); readable(t, q.FD(), 0) {
		t.Error("readable after the last entry")
	}
	q.Put(Passed, 4)
	if !readable(t, q.FD(), time.Second) {
		t.Error("not readable with a later entry")
	}
}
