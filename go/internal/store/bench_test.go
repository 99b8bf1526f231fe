package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

// benchKey makes key, which has the length of Guillotina's keys, the key of entry i.
func benchKey(key []byte, i int) {
	binary.LittleEndian.PutUint64(key[len(key)-8:], uint64(i))
}

const benchKeyLen = 40

// filled returns a full store of maxBytes, the number of the first entry that it still holds, and the number of the next
// one to add.
func filled(b *testing.B, maxBytes int64, size func() int) (s *Store, first, next int) {
	b.Helper()
	s = newStore(b, maxBytes, realClock)
	b.Cleanup(s.Close)
	key, value := make([]byte, benchKeyLen), make([]byte, 200<<10)
	// Filled twice, so that the blocks of an entry are scattered as they are after a while.
	for added := int64(0); added < 2*maxBytes; next++ {
		benchKey(key, next)
		n := size()
		s.Add(key, 2, value[:n], Never)
		added += int64(n)
	}
	return s, next - int(s.Stats().Items), next
}

var benchSizes = []struct {
	name string
	size func() int
}{
	{"1KB", func() int { return 1024 }},
	{"mixed", mixedSize},
}

// mixedSize draws a size from 200 bytes to 200 KB; all powers of two are equally likely.
func mixedSize() int {
	return 200 << rand.IntN(10) * (1000 + rand.IntN(1000)) / 1000
}

func BenchmarkStoreGet(b *testing.B) {
	for _, limit := range []int64{1 << 20, 1 << 30} {
		for _, sizes := range benchSizes {
			b.Run(fmt.Sprintf("%s/%dMB", sizes.name, limit>>20), func(b *testing.B) {
				s, first, next := filled(b, limit, sizes.size)
				var bytes atomic.Int64
				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					key, dst, read := make([]byte, benchKeyLen), make([]byte, 0, 400<<10), 0
					for pb.Next() {
						benchKey(key, first+rand.IntN(next-first))
						value, _, _ := s.Get(key, 2, dst)
						read += len(value)
					}
					bytes.Add(int64(read))
				})
				b.SetBytes(bytes.Load() / int64(b.N))
			})
		}
	}
}

func BenchmarkStoreAdd(b *testing.B) {
	for _, sizes := range benchSizes {
		b.Run(sizes.name, func(b *testing.B) {
			s, _, next := filled(b, 256<<20, sizes.size)
			var number atomic.Int64
			number.Store(int64(next))
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				key, value := make([]byte, benchKeyLen), make([]byte, 400<<10)
				for pb.Next() {
					benchKey(key, int(number.Add(1)))
					s.Add(key, 2, value[:sizes.size()], Never)
				}
			})
		})
	}
}
