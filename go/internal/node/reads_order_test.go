package node

import (
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// The version is loaded after the deadline (R2). A process that is marked out, and
// returns with a later version, must not serve the version that it had before: a commit that did not wait
// for it came between. The loads of the reader fall between the stores in every order, often.
func TestAVersionFromBeforeAReturnIsNotServed(t *testing.T) {
	p := open(t, newDatabase(), settings{"alone": true})
	eventually(t, "it serves", p.serves)
	key := []byte("k")
	words := unsafe.Slice((*uint64)(unsafe.Pointer(&p.Memory.mapped[0])), coherence.TableHeader)
	in := append([]uint64(nil), words...)
	p.Leave()
	var deadlines []int
	for i := range words {
		if words[i] != in[i] {
			deadlines = append(deadlines, i)
		}
	}
	if _, ok := p.Databases.Version(key); ok || len(deadlines) == 0 {
		t.Fatal("a process that has left serves")
	}
	version := (*uint64)(unsafe.Pointer(&p.Memory.mapped[8*(coherence.TableHeader+int(p.Memory.table.Bucket(cache.Hash(key))))]))
	first := atomic.LoadUint64(version)

	const wanted = 40_000 // returns that the reader has met, so many that some fall between its loads
	var committed atomic.Uint64
	var done atomic.Bool
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for n := uint64(1); !done.Load(); n++ {
			for _, i := range deadlines {
				atomic.StoreUint64(&words[i], 0)
			}
			committed.Store(n)
			atomic.StoreUint64(version, first+2*n)
			for _, i := range deadlines {
				atomic.StoreUint64(&words[i], in[i])
			}
		}
	}()
	end := time.Now().Add(patience) // one processor alone meets few
	for met, out := 0, false; met < wanted && !t.Failed() && time.Now().Before(end); {
		before := committed.Load()
		versioned, ok := p.Databases.Version(key)
		if ok && (versioned.Version-first-in[0])/2 < before {
			t.Errorf("it serves version %d after commit %d", (versioned.Version-first-in[0])/2, before)
		}
		if ok && out {
			met++
		}
		out = !ok
	}
	done.Store(true)
	<-stopped
}
