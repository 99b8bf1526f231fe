package coherence

import (
	"sync/atomic"
	"unsafe"
)

// Words of the memory that a [Table] lies in, before the buckets.
const (
	wordEpoch     = 0
	wordDatabases = 8 // the first of one deadline per database; those before it are unused
	// MaxDatabases bounds how many databases one process serves in its life.
	MaxDatabases = 64
	// TableHeader is the number of words before the first bucket: whole cache lines, so that
	// the words that every hit reads share none with a bucket.
	TableHeader = wordDatabases + MaxDatabases
)

// Table holds the versions of all buckets, the epoch, and the deadlines of R2, in memory that other
// threads, and Python, read without a lock: aligned 64-bit loads are atomic. Only the machine writes it.
//
// A bucket, or the epoch, shows an odd number while it is in doubt.
type Table struct {
	words []uint64
	// digest tells two tables apart: a sum over epoch and buckets, each times an odd number of its own, so
	// that every bump can keep it up to date. Only the machine reads it.
	digest uint64
}

// NewTable returns a table over words: [TableHeader] words of header, and then one word per bucket. The
// number of buckets is a power of two.
func NewTable(words []uint64) *Table {
	n := len(words) - TableHeader
	if n <= 0 || n&(n-1) != 0 {
		panic("coherence: the number of buckets is not a power of two")
	}
	if uintptr(unsafe.Pointer(&words[0]))%8 != 0 {
		panic("coherence: the table is not aligned")
	}
	return &Table{words: words}
}

// Buckets returns the number of buckets.
func (t *Table) Buckets() uint32 { return uint32(len(t.words) - TableHeader) }

// Bucket returns the bucket of a key's hash.
func (t *Table) Bucket(hash uint64) uint32 { return uint32(hash) & (t.Buckets() - 1) }

// DatabaseDeadline returns until when keys of a database may be served; 0: not at all.
func (t *Table) DatabaseDeadline(database int) Time {
	return Time(atomic.LoadUint64(&t.words[DeadlineWord(database)]))
}

// DeadlineWord returns the word that a database's deadline lies in.
func DeadlineWord(database int) int { return wordDatabases + database }

// Version returns the version of a bucket; ok is false while the bucket is in doubt.
//
// The caller keeps R2's order: load the database's deadline, load the version, then read the clock.
func (t *Table) Version(bucket uint32) (version uint64, ok bool) {
	epoch := atomic.LoadUint64(&t.words[wordEpoch])
	value := atomic.LoadUint64(&t.words[TableHeader+bucket])
	return epoch + value, (epoch|value)&1 == 0
}

func (t *Table) setDatabaseDeadline(database int, d Time) {
	atomic.StoreUint64(&t.words[DeadlineWord(database)], uint64(d))
}

// bump moves a word on to another version: the nonce is even, so doubt stays as it is.
func (t *Table) bump(word int, nonce uint64) {
	atomic.AddUint64(&t.words[word], nonce)
	t.digest += nonce * weight(word)
}

// weight returns a word's factor in the digest. Processes compare digests, so the deadlines, of which
// another release may have more or fewer, have no part in it.
func weight(word int) uint64 {
	if word >= TableHeader {
		word -= MaxDatabases
	}
	return (uint64(word)*0x9E3779B97F4A7C15)<<1 | 1
}

func (t *Table) setDoubt(word int, doubt bool) {
	value := atomic.LoadUint64(&t.words[word]) &^ 1
	if doubt {
		value |= 1
	}
	atomic.StoreUint64(&t.words[word], value)
}

func (t *Table) isOdd(word int) bool { return atomic.LoadUint64(&t.words[word])&1 != 0 }

// settledWord returns a word without its mark of doubt.
func (t *Table) settledWord(word int) uint64 { return atomic.LoadUint64(&t.words[word]) &^ 1 }

// reset sets epoch and buckets, with nothing in doubt. The process serves nothing meanwhile (every deadline
// is 0), so no reader takes a mixture for a version.
func (t *Table) reset(epoch uint64, buckets map[uint32]uint64) {
	atomic.StoreUint64(&t.words[wordEpoch], epoch)
	for i := range t.words[TableHeader:] {
		word := &t.words[TableHeader+i]
		if atomic.LoadUint64(word) != 0 { // an untouched page of the table stays unmapped
			atomic.StoreUint64(word, 0)
		}
	}
	t.digest = epoch * weight(wordEpoch)
	for b, v := range buckets {
		atomic.StoreUint64(&t.words[TableHeader+b], v)
		t.digest += v * weight(TableHeader+int(b))
	}
}

// used returns every bucket that was ever bumped, with its version less the epoch.
func (t *Table) used() map[uint32]uint64 {
	used := make(map[uint32]uint64)
	for i := range t.words[TableHeader:] {
		if v := t.settledWord(TableHeader + i); v != 0 {
			used[uint32(i)] = v
		}
	}
	return used
}
