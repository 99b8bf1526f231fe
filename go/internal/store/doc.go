// Package store keeps values in memory, bounded in bytes, each under a key and a version of that key.
//
// # What it guarantees
//
// [Store.Get] returns exactly the bytes that [Store.Add] was given under that key and version, or a miss; keys are
// compared in full. A value is a miss from its expiry on. A store holds at most one version of a key: adding another
// one replaces it, because versions never come back (R1 in docs/coherence.rst) and a superseded value would only waste
// room. It guarantees no more than that: any value may be evicted at any time. All methods may be called from any
// goroutine at the same time.
//
// # What it costs
//
// The limit counts real memory: keys, values and all bookkeeping. Memory is cut into blocks of 256 bytes, and an entry
// takes as many as it needs, wherever they are free, so nothing fragments and nothing is compacted (see arena for the
// alternatives, with numbers). An entry's own bookkeeping is 64 bytes, 4 for each further block and 5 per block for
// the tables, and on average half of its last block is empty. An entry may take a third of the limit.
//
// The memory is one mapping outside of Go's heap. The garbage collector does not scan it, so a store of a million
// entries makes no collection longer; address space is reserved at once, and pages become real when they are first
// used.
//
// A store has 64 shards, by the hash of the key. Each has a lock of its own, under which values are copied out; no
// goroutine holds two of these locks. A value is copied in before its shard is locked.
//
// # What it evicts
//
// The policy is S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023). A new entry enters
// the small queue, which may take a tenth of the blocks. An entry that was used before it reaches the tail of the small
// queue is promoted to the main queue; any other is evicted, and only a fingerprint of its key is remembered for a
// while, as a ghost. A key that is added while its ghost is remembered enters the main queue at once. An entry at the
// tail of the main queue is evicted unless it was used; if it was, it is reinserted at the head, and one of at most
// three uses is deducted. The tenth and the three are the paper's numbers.
//
// So objects that are read once, as a re-index or an export reads everything, pass through a tenth of the store and
// leave the rest as it was (TestStoreSurvivesAScan), where an LRU forgets everything. A hit changes a counter, where an
// LRU has to move the entry in a list that all readers share: a read takes 0.6 to 1.0 times as long. Hit rates beside
// LRU's, W-TinyLFU's and the best possible ones are in docs/performance.rst.
package store
