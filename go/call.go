package main

// #include <stdint.h>
// #include <stddef.h>
import "C"

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"unsafe"

	"guillotina_groupcache/internal/node"
)

// failed is returned by an export that has not done its work.
const failed = -1 << 62

var (
	mu        sync.Mutex
	nodes     = map[C.int64_t]*node.Node{}
	lastNode  C.int64_t
	lastError string
)

// call runs f for a node, and keeps a failure, or a panic, for gc_error. Every export but gc_error
// goes through it.
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
		return fail(errors.New("no such node: it is closed, or was never opened"))
	}
	result, err := f(n)
	if err != nil {
		return fail(err)
	}
	return result
}

// run is call for what returns nothing.
func run(handle C.int64_t, f func(n *node.Node) error) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) { return 0, f(n) })
}

// give is call for text: it copies what f returns into buf and returns its length; more than size:
// nothing was copied.
func give(handle C.int64_t, buf *C.uint8_t, size C.size_t, f func(n *node.Node) ([]byte, error)) C.int64_t {
	return call(handle, func(n *node.Node) (C.int64_t, error) {
		text, err := f(n)
		if len(text) <= int(size) {
			copy(slice(buf, size), text)
		}
		return C.int64_t(len(text)), err
	})
}

func fail(err error) C.int64_t {
	mu.Lock()
	defer mu.Unlock()
	lastError = err.Error()
	return failed
}

// slice returns the caller's memory as a slice that is valid during the call.
func slice(p *C.uint8_t, n C.size_t) []byte {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), int(n))
}
