package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

// benchKey writes the key of entry i, of the length that keys of Guillotina have, into key.
func benchKey(key []byte, i int) {
	binary.LittleEndian.PutUint64(key[len(key)-8:], uint64(i))
}

const benchKeyLen = 40

// filled returns a store of maxBytes that has just evicted its first entries, with the number of
// the first entry kept and of the next one to add.
func filled(b *testing.B, maxBytes int64, size func() int) (s *Store, first, next int) {
	b.Helper()
	s = newStore(b, maxBytes, realClock)
	b.Cleanup(s.Close)
	key, value := make([]byte, benchKeyLen), make([]byte, 200<<10)
	// Twice over, so that the blocks lie as they do after a while, not as in new memory.
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

// mixedSize draws from 200 bytes to 200 KB, each power of two as often as any other.
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
