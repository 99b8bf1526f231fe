//go:build !race

package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// realMemory returns the resident memory (RSS) of this process in bytes.
func realMemory(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("this test needs /proc: ", err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		t.Fatalf("/proc/self/statm is %q: %v", statm, err)
	}
	return pages * int64(os.Getpagesize())
}

// A limit larger than any address space is an error of one line, not a panic with a dump.
func TestStoreRefusedMemoryIsAnError(t *testing.T) {
	if memory, err := newArena(1 << 62); err == nil {
		memory.close()
		t.Skip("the system grants any size")
	}
	if _, err := New(1<<62, realClock); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func TestStoreRealMemory(t *testing.T) {
	const limit = 64 * oneMB
	for _, test := range []struct {
		name string
		size func() int
		most float64 // real memory, in multiples of the limit
	}{
		{"1 KB", func() int { return 1024 }, 1.15},
		{"200 bytes to 200 KB", func() int { return 200 + rand.IntN(200<<10-200) }, 1.25},
		{"200 bytes to 200 KB, mostly small", mixedSize, 1.25},
	} {
		t.Run(test.name, func(t *testing.T) {
			source := make([]byte, 400<<10)
			start := realMemory(t)
			s := newStore(t, limit, realClock)
			defer s.Close()
			if got := realMemory(t) - start; got > limit/20 {
				t.Errorf("an empty store takes %d bytes", got)
			}
			fill(s, 5*limit, source, test.size)
			ratio := float64(realMemory(t)-start) / limit
			t.Logf("real memory is %.3f times the limit, values are %.3f", ratio, float64(valueBytes(s))/limit)
			if ratio > test.most || ratio < 0.9 {
				t.Errorf("real memory is %.3f times the limit, want 0.9 to %.2f", ratio, test.most)
			}
			s.Close()
			if got := realMemory(t) - start; got > limit/20 {
				t.Errorf("Close did not return %d bytes", got)
			}
		})
	}
}

// fill adds values of sum bytes in total, from several goroutines.
func fill(s *Store, sum int, source []byte, size func() int) {
	const writers = 4
	var group sync.WaitGroup
	for writer := range writers {
		group.Go(func() {
			for n, i := 0, 0; n < sum/writers; i++ {
				value := source[:size()]
				s.Add(fmt.Append(nil, "a key of some length ", writer, i), 2, value, Never)
				n += len(value)
			}
		})
	}
	group.Wait()
}

func valueBytes(s *Store) (sum int64) {
	for i := range s.shards {
		for kind := range s.shards[i].queues {
			for entry := s.shards[i].queues[kind].head; entry != none; entry = s.arena.header(entry).older {
				sum += int64(s.arena.header(entry).valueLen)
			}
		}
	}
	return sum
}
