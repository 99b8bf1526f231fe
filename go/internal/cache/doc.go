// Package cache answers reads from memory, from the process that owns the key, or from the database. A [Group] is one
// process's part of the cache of the whole cluster; [Group.Get] says how a key is read.
//
// # Owners and copies
//
// A consistent-hash ring, the same in every process, gives each key one owner. The owner keeps values in its main store
// and loads those that are missing, so a value is loaded once for the cluster. A process that reads another's key keeps
// a copy in its hot store, which has an eighth of the memory: values that are read often are copied to where they are
// read, and most of the memory still holds each value only once. A client, which has no address, owns nothing and has
// only hot copies, and what it loaded itself when an owner failed.
//
// # Versions
//
// A value is stored under a [VersionedKey]: the key, and the version of its bucket when it was requested. A versioned
// key stands for one value forever. A write changes the version, and from then on nothing under the old one is found;
// package coherence decides when. So this package never invalidates anything, and a value that arrives late, from the
// database or a peer, is stored under the version that was requested and does no harm (R1 in docs/coherence.rst).
//
// # Expiry
//
// Where a TTL is configured a value expires that long after its load began, however it travels afterwards, and no copy
// outlives the TTL of the process that keeps it (TestNoValueOutlivesItsTTL). A request that joins an earlier one never
// gets a value that had expired before it began.
//
// # What bounds it
//
// The stores are bounded in bytes (package store). Loads under way are bounded by [Limits]; a load beyond the bound
// fails with [ErrOverload], and its caller reads the database itself. Each load has a deadline of its own, so a request
// that is abandoned does not take the load from others that wait for it. An owner answers requests of peers from memory
// or by a load, never by a request to another process, so two processes that disagree about an owner cannot wait for
// each other.
//
// # groupcache
//
// The ring, and what joins concurrent reads of one key, are groupcache's (github.com/groupcache/groupcache-go), which
// is used unmodified: adapter makes our store its cache, ringTransport makes [Peers] its network, and ringHash makes it
// place keys without their versions.
package cache
