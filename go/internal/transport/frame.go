package transport

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// A frame is a header and a body, numbers big-endian:
//
//	offset 0   uint32  length of the body
//	offset 4   uint8   type
//	offset 5   uint8   kind (of a failure: its code)
//	offset 6   uint64  request id; 0 in a message and a beat
//	offset 14          body
const headerSize = 14

type frameType uint8

const (
	typeMessage frameType = 1 + iota // one-way
	typeRequest                      // wants an answer or a failure with its id
	typeAnswer                       // body: what the handler answered
	typeFailure                      // body: an error message
	typeBeat                         // sign of life, no body
)

// Codes of a failure.
const (
	codeError    Kind = 0 // the handler's error
	codeOverload Kind = 1 // ErrOverload
)

const (
	// arrivalStep is how much memory a frame gets before its first byte has arrived;
	// afterwards at most as much again as has arrived.
	arrivalStep = 64 << 10

	// maxMessage bounds the text of a failure, in bytes.
	maxMessage = 1024
)

type frame struct {
	typ  frameType
	kind Kind
	id   uint64
	body []byte
}

// encodeFrame returns the bytes of a frame whose body is the parts one after the other.
func encodeFrame(typ frameType, kind Kind, id uint64, parts ...[]byte) []byte {
	size := bodySize(parts)
	buf := make([]byte, headerSize, headerSize+size)
	binary.BigEndian.PutUint32(buf, uint32(size))
	buf[4] = byte(typ)
	buf[5] = byte(kind)
	binary.BigEndian.PutUint64(buf[6:], id)
	for _, part := range parts {
		buf = append(buf, part...)
	}
	return buf
}

func bodySize(parts [][]byte) int {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	return size
}

// frameReader reads frames from a stream.
type frameReader struct {
	from  io.Reader
	limit int // bytes of a body

	header [headerSize]byte
	buf    []byte // reused for bodies that are valid only until the next frame
}

// next reads one frame. The body of an answer or failure belongs to the caller, any other
// is valid until the next call. A stream that ends between two frames is io.EOF.
func (r *frameReader) next() (frame, error) {
	if n, err := io.ReadFull(r.from, r.header[:]); err != nil {
		// TLS reports an end without its goodbye as ErrUnexpectedEOF, also between two frames.
		if n == 0 && errors.Is(err, io.ErrUnexpectedEOF) {
			return frame{}, io.EOF
		}
		return frame{}, cut(err, "header")
	}
	size := binary.BigEndian.Uint32(r.header[:])
	if uint64(size) > uint64(r.limit) {
		return frame{}, faultf(ReasonOversized, "a frame of %d bytes, at most %d are allowed", size, r.limit)
	}
	f := frame{
		typ:  frameType(r.header[4]),
		kind: Kind(r.header[5]),
		id:   binary.BigEndian.Uint64(r.header[6:]),
	}
	if f.typ < typeMessage || f.typ > typeBeat {
		return frame{}, faultf(ReasonBroken, "a frame of unknown type %d", f.typ)
	}
	if f.typ == typeBeat && size > 0 {
		return frame{}, faultf(ReasonBroken, "a beat with a body of %d bytes", size)
	}
	var err error
	f.body, err = r.body(f.typ, int(size))
	return f, err
}

func (r *frameReader) body(typ frameType, size int) ([]byte, error) {
	if typ == typeAnswer || typ == typeFailure {
		return readBody(r.from, size, nil)
	}
	body, err := readBody(r.from, size, r.buf)
	if cap(body) <= arrivalStep { // one large body must not cost its memory for ever
		r.buf = body
	}
	return body, err
}

// readBody reads size bytes, into buf as far as it is large enough. Memory grows with what
// has arrived, so that a header alone cannot claim much.
func readBody(from io.Reader, size int, buf []byte) ([]byte, error) {
	buf = buf[:0]
	for len(buf) < size {
		have := len(buf)
		upTo := min(size, max(cap(buf), 2*have, arrivalStep))
		buf = slices.Grow(buf, upTo-have)
		n, err := io.ReadFull(from, buf[have:upTo])
		buf = buf[:have+n]
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return buf, cut(err, "body")
		}
	}
	return buf, nil
}

// cut makes a fault of an end of the stream within a frame, and leaves other errors alone.
func cut(err error, where string) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return faultf(ReasonCut, "the connection ended within the %s of a frame", where)
	}
	return err
}
