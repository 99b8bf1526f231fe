package bridge

import (
	"encoding/binary"
	"errors"

	"guillotina_groupcache/internal/cache"
)

// A list crosses the border to Python as its elements, each behind its length (4 bytes, little
// endian). A result is a source (1 byte) and then its value as an element.

var (
	// ErrMalformed is the error for bytes that are no list.
	ErrMalformed = errors.New("bridge: malformed list")
	// ErrNoValue is the error of a result whose source is [cache.Nowhere].
	ErrNoValue = errors.New("bridge: no value")
)

// AppendElement appends one element of a list.
func AppendElement(b, element []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(element)))
	return append(b, element...)
}

// TakeElement returns the first element of a list, which is a part of b, and the rest.
func TakeElement(b []byte) (element, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, ErrMalformed
	}
	n := binary.LittleEndian.Uint32(b)
	b = b[4:]
	if uint64(n) > uint64(len(b)) {
		return nil, nil, ErrMalformed
	}
	return b[:n:n], b[n:], nil
}

// UnpackList returns the elements of a list, which are parts of b.
func UnpackList(b []byte) (elements [][]byte, err error) {
	for len(b) > 0 {
		var element []byte
		if element, b, err = TakeElement(b); err != nil {
			return nil, err
		}
		elements = append(elements, element)
	}
	return elements, nil
}

// PackResults returns results in the form that Python reads; one that failed has source
// [cache.Nowhere].
func PackResults(results []cache.Result) []byte {
	size := 0
	for _, r := range results {
		size += 1 + 4 + len(r.Value)
	}
	b := make([]byte, 0, size)
	for _, r := range results {
		b = AppendElement(append(b, byte(r.Source)), r.Value)
	}
	return b
}

// UnpackResults is the inverse of PackResults; the values are parts of b.
func UnpackResults(b []byte) (results []cache.Result, err error) {
	for len(b) > 0 {
		r := cache.Result{Source: cache.Source(b[0])}
		if r.Value, b, err = TakeElement(b[1:]); err != nil {
			return nil, err
		}
		if r.Source > cache.Deduplicated {
			return nil, ErrMalformed
		}
		if r.Source == cache.Nowhere {
			r.Err = ErrNoValue
		}
		results = append(results, r)
	}
	return results, nil
}
