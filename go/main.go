// Command libgroupcache is the library that guillotina_groupcache loads: its exports, and nothing
// else. Pointers belong to the caller and are not kept. An export that fails, or panics, returns
// failed, and gc_error has the reason (call.go).
package main

/*
#include <stdint.h>
#include <stddef.h>

typedef struct {
	uint64_t version;
	int64_t expires;
	uint32_t bucket;
	uint32_t deadline;
	uint8_t source;
} gc_found;
*/
import "C"

import (
	"bytes"
	"errors"

	"guillotina_groupcache/internal/node"
)

func main() {}

// gc_error copies the reason of the last failure into buf and returns its length.
//
//export gc_error
func gc_error(buf *C.uint8_t, size C.size_t) C.int64_t {
	mu.Lock()
	defer mu.Unlock()
	return C.int64_t(copy(slice(buf, size), lastError))
}

// gc_open starts a node with a configuration in JSON and returns its handle.
//
//export gc_open
func gc_open(config *C.uint8_t, size C.size_t) C.int64_t {
	return call(0, func(*node.Node) (C.int64_t, error) {
		n, err := node.Open(slice(config, size))
		if err != nil {
			return 0, err
		}
		mu.Lock()
		defer mu.Unlock()
		lastNode++
		nodes[lastNode] = n
		return lastNode, nil
	})
}

// gc_close ends a node; other calls for it must have returned.
//
//export gc_close
func gc_close(handle C.int64_t) C.int64_t {
	return run(handle, func(n *node.Node) error {
		mu.Lock()
		delete(nodes, handle)
		mu.Unlock()
		if n != nil {
			n.Close()
		}
		return nil
	})
}

// gc_leave stops serving and says bye to the other processes.
//
//export gc_leave
func gc_leave(handle C.int64_t) C.int64_t {
	return run(handle, func(n *node.Node) error { n.Leave(); return nil })
}

// gc_fd returns a descriptor that is readable while gc_drain has something to give.
//
//export gc_fd
func gc_fd(handle C.int64_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) { return C.int64_t(n.Queue.Watch.FD()), nil })
}

// gc_drain moves whole completions into buf and returns their bytes, or, negative, the bytes that the
// first one needs when it does not fit.
//
//export gc_drain
func gc_drain(handle C.int64_t, buf *C.uint8_t, size C.size_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		return C.int64_t(n.Queue.Drain(slice(buf, size))), nil
	})
}

// gc_table returns the address of the version table, which is read-only and valid until gc_close, and
// stores its number of words in words.
//
//export gc_table
func gc_table(handle C.int64_t, words *C.size_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		address, count := n.Memory.Words()
		*words = C.size_t(count)
		return C.int64_t(address), nil
	})
}

// gc_database serves the keys that have prefix behind their first byte, and returns the word of the
// version table that holds their deadline; -1 when there is no room for one more database.
//
//export gc_database
func gc_database(handle C.int64_t, id *C.uint8_t, idSize C.size_t, prefix *C.uint8_t, size C.size_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		word, err := n.Databases.Serve(string(slice(id, idSize)), slice(prefix, size))
		if errors.Is(err, node.ErrTooManyDatabases) {
			return -1, nil
		}
		return C.int64_t(word), err
	})
}

// gc_unserve stops serving the keys of a database.
//
//export gc_unserve
func gc_unserve(handle C.int64_t, id *C.uint8_t, size C.size_t) C.int64_t {
	return run(handle, func(n *node.Node) error { n.Databases.Unserve(string(slice(id, size))); return nil })
}

// gc_get copies the value of a key from this process's memory into buf and returns its length (more
// than size: nothing was copied), -1 for a miss, -2 for a bypass. found says how a caller revalidates
// the value. After a miss the key is read, and a completion of kind values answers the request, unless
// that is 0.
//
//export gc_get
func gc_get(handle C.int64_t, request C.uint64_t, key *C.uint8_t, keySize C.size_t, buf *C.uint8_t, size C.size_t, found *C.gc_found) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		length, f := n.Get(uint64(request), slice(key, keySize), slice(buf, size))
		found.version, found.expires = C.uint64_t(f.Version), C.int64_t(f.Expires)
		found.bucket, found.deadline = C.uint32_t(f.Bucket), C.uint32_t(f.Deadline)
		found.source = C.uint8_t(f.Source)
		return C.int64_t(length), nil
	})
}

// gc_version stores the current version of a key in version and returns 1, or returns 0 while the key
// must be read from the database.
//
//export gc_version
func gc_version(handle C.int64_t, key *C.uint8_t, keySize C.size_t, version *C.uint64_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		versioned, ok := n.Databases.Version(slice(key, keySize))
		if !ok {
			return 0, nil
		}
		*version = C.uint64_t(versioned.Version)
		return 1, nil
	})
}

// gc_read reads a list of keys; a completion of kind values answers.
//
//export gc_read
func gc_read(handle C.int64_t, request C.uint64_t, keys *C.uint8_t, size C.size_t) C.int64_t {
	return run(handle, func(n *node.Node) error { return n.Read(uint64(request), slice(keys, size)) })
}

// gc_warm gets a list of keys into this process's memory. 1: an empty completion of kind values says
// when they are there; 0: there is nothing to wait for.
//
//export gc_warm
func gc_warm(handle C.int64_t, request C.uint64_t, keys *C.uint8_t, size C.size_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		started, err := n.Warm(uint64(request), slice(keys, size))
		if started {
			return 1, err
		}
		return 0, err
	})
}

// gc_loaded answers a completion of kind load: with a list of results, or, when isFailure is not 0,
// with the reason as text.
//
//export gc_loaded
func gc_loaded(handle C.int64_t, load C.uint64_t, results *C.uint8_t, size C.size_t, isFailure C.int) C.int64_t {
	return run(handle, func(n *node.Node) error {
		list := bytes.Clone(slice(results, size))
		var failure error
		if isFailure != 0 {
			list, failure = nil, errors.New(string(list))
		}
		n.Loads.Loaded(uint64(load), list, failure)
		return nil
	})
}

// gc_announce announces an event over a list of keys, or over everything, and returns its number; a
// completion of kind cleared says when COMMIT may be sent.
//
//export gc_announce
func gc_announce(handle C.int64_t, database *C.uint8_t, databaseSize C.size_t, keys *C.uint8_t, size C.size_t, all C.int) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		event, err := n.Announce(string(slice(database, databaseSize)), slice(keys, size), all != 0)
		return C.int64_t(event), err
	})
}

// gc_settle settles an event; pushes is a list of keys, each followed by the value written.
//
//export gc_settle
func gc_settle(handle C.int64_t, event C.uint64_t, pushes *C.uint8_t, size C.size_t) C.int64_t {
	return run(handle, func(n *node.Node) error { return n.Settle(uint64(event), slice(pushes, size)) })
}

// gc_lost says that the answer to an event's COMMIT was lost.
//
//export gc_lost
func gc_lost(handle C.int64_t, event C.uint64_t) C.int64_t {
	return run(handle, func(n *node.Node) error { n.Lost(uint64(event)); return nil })
}

// gc_outside_write registers, once, what a note of a write from outside names: a list of keys, or
// everything. nonce is the note's at every process; rows and application are for the statistics.
//
//export gc_outside_write
func gc_outside_write(handle C.int64_t, id, nonce C.uint64_t, all C.int, rows C.uint64_t, application *C.uint8_t, applicationSize C.size_t, keys *C.uint8_t, size C.size_t) C.int64_t {
	return run(handle, func(n *node.Node) error {
		return n.OutsideWrite(uint64(id), uint64(nonce), slice(keys, size), all != 0, uint64(rows),
			string(slice(application, applicationSize)))
	})
}

// gc_answer answers a completion of kind database query, in JSON.
//
//export gc_answer
func gc_answer(handle C.int64_t, query C.uint64_t, answer *C.uint8_t, size C.size_t) C.int64_t {
	return run(handle, func(n *node.Node) error { n.Answer(uint64(query), slice(answer, size)); return nil })
}

// gc_constants copies the numbers that Python has too, in JSON, into buf and returns their length; more
// than size: nothing was copied.
//
//export gc_constants
func gc_constants(buf *C.uint8_t, size C.size_t) C.int64_t {
	return give(0, buf, size, func(*node.Node) ([]byte, error) { return node.Constants() })
}

// gc_stats copies this process's statistics, in JSON, into buf and returns their length; more than
// size: nothing was copied.
//
//export gc_stats
func gc_stats(handle C.int64_t, buf *C.uint8_t, size C.size_t) C.int64_t {
	return give(handle, buf, size, (*node.Node).Stats)
}

// gc_peer_stats requests the statistics of every connected member; a completion of kind peer stats
// answers.
//
//export gc_peer_stats
func gc_peer_stats(handle C.int64_t, request C.uint64_t) C.int64_t {
	return run(handle, func(n *node.Node) error { n.PeerStats(uint64(request)); return nil })
}
