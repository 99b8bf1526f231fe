package coherence

import (
	"strings"
	"testing"
	"time"
)

// Rows of the members table that somebody has deleted (R3, R5).

// lacks takes a view that lacks so many rows of a count.
func (b *bench) lacks(missing int, counting uint64, state State, rows ...Row) {
	b.do(func() { b.m.Missing(b.now, b.now, missing, counting) })
	b.view(state, rows...)
}

// lacksFor takes such views until some time has passed.
func (b *bench) lacksFor(d time.Duration, missing int, counting uint64, state State, rows ...Row) {
	for end := b.now.Add(d); b.now < end; {
		b.wait(100 * time.Millisecond)
		b.lacks(missing, counting, state, rows...)
	}
}

// justBelow is a little less than a lease on anyone's clock, and justAbove a little more.
const justBelow, justAbove = 3 * time.Second, 3200 * time.Millisecond

func TestACommitWaitsForALeaseWhereRowsAreMissing(t *testing.T) {
	b := newBench(t)
	b.lacks(1, 7, In)
	b.announce(1)
	b.lacksFor(justBelow, 1, 7, In)
	if len(b.took(Cleared)) != 0 {
		t.Error("cleared though a process that it has never seen may still serve")
	}
	b.lacksFor(justAbove-justBelow, 1, 7, In)
	if len(b.took(Cleared)) != 1 {
		t.Error("not cleared after a lease")
	}
}

func TestMissingRowsAreWrittenOffAfterALeaseAndNotBefore(t *testing.T) {
	b := newBench(t)
	b.lacks(2, 7, In)
	b.lacksFor(justBelow, 2, 7, In)
	if len(b.took(WriteOff)) != 0 {
		t.Error("written off before a lease was over: a process that starts now would not wait")
	}
	b.lacksFor(justAbove-justBelow, 2, 7, In)
	if off := b.took(WriteOff); len(off) == 0 || off[0].Missing != 2 || off[0].Counting != 7 {
		t.Errorf("written off: %v", off)
	}
	b.lacks(0, 8, In)
	b.announce(1)
	if len(b.took(Cleared)) != 1 {
		t.Error("not cleared when nothing is missing any more")
	}
	b.lacks(0, 8, In)
	if len(b.took(WriteOff)) != 0 {
		t.Error("nothing is missing, and something written off")
	}
}

func TestFurtherMissingRowsAreWaitedForAnew(t *testing.T) {
	for name, next := range map[string]func(b *bench){
		"more rows":           func(b *bench) { b.lacks(2, 7, In) },
		"of another count":    func(b *bench) { b.lacks(1, 8, In) },
		"seen after a pause":  func(b *bench) { b.now = b.now.Add(4 * time.Second); b.lacks(1, 7, In) },
		"missing once before": func(b *bench) { b.lacks(0, 8, In); b.lacks(1, 8, In) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.lacks(1, 7, In)
			b.lacksFor(justBelow, 1, 7, In)
			next(b)
			b.announce(1)
			missing := b.m.view.missing
			b.lacksFor(justBelow, missing.rows, missing.counting, In)
			if len(b.took(Cleared)) != 0 {
				t.Error("cleared before a lease was over")
			}
			b.lacksFor(justAbove-justBelow, missing.rows, missing.counting, In)
			if len(b.took(Cleared)) != 1 {
				t.Error("not cleared after a lease")
			}
		})
	}
}

func TestAJoinerWithAllAcknowledgementsWaitsForALeaseWhereRowsAreMissing(t *testing.T) {
	b := newJoiner(t, 8)
	b.lacks(1, 7, Joining)
	b.lacksFor(justBelow, 1, 7, Joining)
	if len(b.took(Elect)) != 0 {
		t.Error("asks to be elected though a process that it has never seen may commit")
	}
	if why := b.m.Why(b.now); !strings.Contains(why, "rows of the members table are missing") {
		t.Errorf("why: %s", why)
	}
	b.lacksFor(justAbove-justBelow, 1, 7, Joining)
	if len(b.took(Elect)) == 0 {
		t.Error("does not go on after a lease")
	}
}

func TestAnOrdinaryStartWaitsForNothing(t *testing.T) {
	b := newJoiner(t, 8)
	b.lacks(0, 7, Joining)
	if len(b.took(Elect)) != 1 {
		t.Error("waits though no row is missing")
	}
}

func TestRowsThatNobodyHasCountedHideNone(t *testing.T) {
	b := newBench(t)
	b.lacks(-1, 7, In)
	if off := b.took(WriteOff); len(off) != 1 || off[0].Missing != -1 {
		t.Errorf("written off: %v", off)
	}
	b.announce(1)
	if len(b.took(Cleared)) != 1 {
		t.Error("waits for a row that is there")
	}
}
