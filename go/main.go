// Command libgroupcache is the library that guillotina_groupcache loads: its exports, and
// nothing else. Pointers belong to the caller and are not kept; every export recovers from
// panics and returns failed then, with the reason in gc_error.
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
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"unsafe"

	"guillotina_groupcache/internal/node"
)

// failed is what an export returns when it has not done its work.
const failed = -1 << 62

var (
	mu        sync.Mutex
	nodes     = map[C.int64_t]*node.Node{}
	lastNode  C.int64_t
	lastError string
)

var errNoNode = errors.New("no such node: it is closed, or was never opened")

func main() {}

// call runs f for a node; a failure, or a panic, is kept for gc_error.
func call(handle C.int64_t, f func(n *node.Node) (C.int64_t, error)) (result C.int64_t) {
	defer func() {
		if r := recover(); r != nil {
			result = fail(fmt.Errorf("panic: %v\n%s", r, debug.Stack()))
		}
	}()
	mu.Lock()
	n := nodes[handle]
	mu.Unlock()
	if n == nil && handle != 0 {
		return fail(errNoNode)
	}
	result, err := f(n)
	if err != nil {
		return fail(err)
	}
	return result
}

func fail(err error) C.int64_t {
	mu.Lock()
	defer mu.Unlock()
	lastError = err.Error()
	return failed
}

// view is the caller's memory as a slice, for the duration of the call.
func view(p *C.uint8_t, n C.size_t) []byte {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), int(n))
}

// gc_error copies the reason of the last failure into buf and returns its length.
//
//export gc_error
func gc_error(buf *C.uint8_t, size C.size_t) C.int64_t {
	mu.Lock()
	defer mu.Unlock()
	return C.int64_t(copy(view(buf, size), lastError))
}

// gc_open starts a node with a configuration in JSON and returns its handle.
//
//export gc_open
func gc_open(config *C.uint8_t, size C.size_t) C.int64_t {
	return call(0, func(*node.Node) (C.int64_t, error) {
		n, err := node.Open(view(config, size))
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
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		mu.Lock()
		delete(nodes, handle)
		mu.Unlock()
		if n != nil {
			n.Close()
		}
		return 0, nil
	})
}

// gc_leave serves nothing any more and says bye to the others.
//
//export gc_leave
func gc_leave(handle C.int64_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		n.Leave()
		return 0, nil
	})
}

// gc_fd returns a descriptor that is readable while gc_drain has something to give.
//
//export gc_fd
func gc_fd(handle C.int64_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) { return C.int64_t(n.FD()), nil })
}

// gc_drain moves whole completions into buf and returns their bytes, or, negative, the bytes
// that the first one needs when it does not fit.
//
//export gc_drain
func gc_drain(handle C.int64_t, buf *C.uint8_t, size C.size_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		return C.int64_t(n.Drain(view(buf, size))), nil
	})
}

// gc_table returns where the version table lies, only to read and until gc_close, and in words
// how many words it has.
//
//export gc_table
func gc_table(handle C.int64_t, words *C.size_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		address, count := n.Table()
		*words = C.size_t(count)
		return C.int64_t(address), nil
	})
}

// gc_database serves the keys that have prefix behind their first byte, and returns the word of
// the version table that holds their deadline; -1 where there is no room for one more database.
//
//export gc_database
func gc_database(handle C.int64_t, id *C.uint8_t, idSize C.size_t, prefix *C.uint8_t, size C.size_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		word, err := n.Database(string(view(id, idSize)), view(prefix, size))
		if errors.Is(err, node.ErrTooManyDatabases) {
			return -1, nil
		}
		return C.int64_t(word), err
	})
}

// gc_unserve serves no key of a database any more.
//
//export gc_unserve
func gc_unserve(handle C.int64_t, id *C.uint8_t, size C.size_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		n.Unserve(string(view(id, size)))
		return 0, nil
	})
}

// gc_get copies a key's value from this process's memory into buf. It returns the value's
// length (more than size: nothing was copied), -1 for a miss, -2 for a bypass; found tells
// where it was and how its freshness is tested. After a miss the key is got wherever it is, and
// a completion of kind values answers the request, unless that is 0.
//
//export gc_get
func gc_get(handle C.int64_t, request C.uint64_t, key *C.uint8_t, keySize C.size_t, buf *C.uint8_t, size C.size_t, found *C.gc_found) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		length, f := n.Get(uint64(request), view(key, keySize), view(buf, size))
		found.version, found.expires = C.uint64_t(f.Version), C.int64_t(f.Expires)
		found.bucket, found.deadline = C.uint32_t(f.Bucket), C.uint32_t(f.Deadline)
		found.source = C.uint8_t(f.Source)
		return C.int64_t(length), nil
	})
}

// gc_version copies the version that a key has now to version and returns 1; 0 means that the
// key is read from the database now, so that its version says nothing.
//
//export gc_version
func gc_version(handle C.int64_t, key *C.uint8_t, keySize C.size_t, version *C.uint64_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		v, ok := n.Version(view(key, keySize))
		if !ok {
			return 0, nil
		}
		*version = C.uint64_t(v)
		return 1, nil
	})
}

// gc_read gets packed keys wherever they are; a completion of kind values answers.
//
//export gc_read
func gc_read(handle C.int64_t, request C.uint64_t, keys *C.uint8_t, size C.size_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		return 0, n.Read(uint64(request), view(keys, size))
	})
}

// gc_warm gets packed keys into this process's memory. 1: an empty completion of kind values
// tells when they are there; 0: there is nothing to wait for.
//
//export gc_warm
func gc_warm(handle C.int64_t, request C.uint64_t, keys *C.uint8_t, size C.size_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		asked, err := n.Warm(uint64(request), view(keys, size))
		if asked {
			return 1, err
		}
		return 0, err
	})
}

// gc_loaded answers a completion of kind load: packed results, or, when failed is not 0, the
// reason as text.
//
//export gc_loaded
func gc_loaded(handle C.int64_t, load C.uint64_t, results *C.uint8_t, size C.size_t, isFailure C.int) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		packed := append([]byte(nil), view(results, size)...)
		var err error
		if isFailure != 0 {
			packed, err = nil, errors.New(string(packed))
		}
		n.Loaded(uint64(load), packed, err)
		return 0, nil
	})
}

// gc_announce makes an event over packed keys, or all, and returns its number; a completion
// of kind passed tells when COMMIT may be sent.
//
//export gc_announce
func gc_announce(handle C.int64_t, database *C.uint8_t, databaseSize C.size_t, keys *C.uint8_t, size C.size_t, all C.int) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		event, err := n.Announce(string(view(database, databaseSize)), view(keys, size), all != 0)
		return C.int64_t(event), err
	})
}

// gc_settle ends an event; pushes are keys and the values written, by turns, packed.
//
//export gc_settle
func gc_settle(handle C.int64_t, event C.uint64_t, pushes *C.uint8_t, size C.size_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		return 0, n.Settle(uint64(event), view(pushes, size))
	})
}

// gc_lost tells that the answer to an event's COMMIT was lost.
//
//export gc_lost
func gc_lost(handle C.int64_t, event C.uint64_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		n.Lost(uint64(event))
		return 0, nil
	})
}

// gc_outside_write tells once what a note of a write from outside names: packed keys, or all.
// nonce is the note's at every process; rows and application are for the statistics.
//
//export gc_outside_write
func gc_outside_write(handle C.int64_t, id, nonce C.uint64_t, all C.int, rows C.uint64_t, application *C.uint8_t, applicationSize C.size_t, keys *C.uint8_t, size C.size_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		return 0, n.OutsideWrite(uint64(id), uint64(nonce), view(keys, size), all != 0, uint64(rows),
			string(view(application, applicationSize)))
	})
}

// gc_answer answers a completion of kind database, in JSON.
//
//export gc_answer
func gc_answer(handle C.int64_t, question C.uint64_t, answer *C.uint8_t, size C.size_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		return 0, n.Answer(uint64(question), view(answer, size))
	})
}

// gc_stats copies this process's statistics, in JSON, into buf and returns their length;
// more than size: nothing was copied.
//
//export gc_stats
func gc_stats(handle C.int64_t, buf *C.uint8_t, size C.size_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		text, err := n.Stats()
		if len(text) <= int(size) {
			copy(view(buf, size), text)
		}
		return C.int64_t(len(text)), err
	})
}

// gc_peer_stats asks every peer for its statistics; a completion of kind peer stats answers.
//
//export gc_peer_stats
func gc_peer_stats(handle C.int64_t, request C.uint64_t) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		n.PeerStats(uint64(request))
		return 0, nil
	})
}
