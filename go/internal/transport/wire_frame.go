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
//	offset 6   uint64  request id; 0 in a message and a heartbeat
//	offset 14          body
const headerSize = 14

type frameType uint8

const (
	typeMessage   frameType = 1 + iota // one-way
	typeRequest                        // wants an answer or a failure with its id
	typeAnswer                         // body: what the handler answered
	typeFailure                        // body: an error message
	typeHeartbeat                      // no body
)

// Codes of a failure.
const (
	codeError    FrameKind = 0 // the handler's error
	codeOverload FrameKind = 1 // ErrOverload
)

const (
	// readStep is how much memory a frame gets before its first byte has arrived.
	// Later it gets at most as much again as has arrived.
	readStep = 64 << 10

	// maxFailureText bounds the text of a failure, in bytes.
	maxFailureText = 1024
)

type frame struct {
	typ  frameType
	kind FrameKind
	id   uint64
	body []byte
}

// encodeFrame returns the bytes of a frame whose body is the concatenation of the parts.
func encodeFrame(typ frameType, kind FrameKind, id uint64, parts ...[]byte) []byte {
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
	// refuses reports whether a body of so many bytes is too large for this peer; nil: none is.
	refuses func(size int) bool

	header [headerSize]byte
	buf    []byte // reused for bodies that are valid only until the next frame
}

// next reads one frame. The body of an answer or failure belongs to the caller, any other
// is valid until the next call. The error is io.EOF if the stream ends between two frames.
func (r *frameReader) next() (frame, error) {
	if n, err := io.ReadFull(r.from, r.header[:]); err != nil {
		// TLS reports an end without a close_notify alert as ErrUnexpectedEOF, also between two frames.
		if n == 0 && errors.Is(err, io.ErrUnexpectedEOF) {
			return frame{}, io.EOF
		}
		return frame{}, truncated(err, "header")
	}
	f, size, err := decodeHeader(r.header[:], r.limit)
	if err == nil && r.refuses != nil && r.refuses(size) {
		err = faultf(ReasonOversized, "a frame of %d bytes from a process without a row in the members table", size)
	}
	if err != nil {
		return frame{}, err
	}
	f.body, err = r.body(f.typ, size)
	return f, err
}

// firstFrame returns the frame that data begins with, and its size; 0: it is not complete yet.
// Its body is a part of data.
func firstFrame(data []byte, limit int) (f frame, size int, err error) {
	if len(data) < headerSize {
		return frame{}, 0, nil
	}
	f, body, err := decodeHeader(data, limit)
	if err != nil || len(data) < headerSize+body {
		return frame{}, 0, err
	}
	size = headerSize + body
	f.body = data[headerSize:size:size]
	return f, size, nil
}

// decodeHeader returns a frame without its body, and the size of the body, which is at most limit.
func decodeHeader(header []byte, limit int) (f frame, body int, err error) {
	size := binary.BigEndian.Uint32(header)
	if uint64(size) > uint64(limit) {
		return frame{}, 0, faultf(ReasonOversized, "a frame of %d bytes, at most %d are allowed", size, limit)
	}
	f = frame{typ: frameType(header[4]), kind: FrameKind(header[5]), id: binary.BigEndian.Uint64(header[6:])}
	if f.typ < typeMessage || f.typ > typeHeartbeat {
		return frame{}, 0, faultf(ReasonMalformed, "a frame of unknown type %d", f.typ)
	}
	if f.typ == typeHeartbeat && size > 0 {
		return frame{}, 0, faultf(ReasonMalformed, "a heartbeat with a body of %d bytes", size)
	}
	return f, int(size), nil
}

func (r *frameReader) body(typ frameType, size int) ([]byte, error) {
	if typ == typeAnswer || typ == typeFailure {
		return readBody(r.from, size, nil)
	}
	body, err := readBody(r.from, size, r.buf)
	if cap(body) <= readStep { // a single large body must not keep its memory for ever
		r.buf = body
	}
	return body, err
}

// readBody reads size bytes, into buf if it is large enough. Memory grows with what has
// arrived, so that a header alone cannot claim much.
func readBody(from io.Reader, size int, buf []byte) ([]byte, error) {
	buf = buf[:0]
	for len(buf) < size {
		have := len(buf)
		upTo := min(size, max(cap(buf), 2*have, readStep))
		buf = slices.Grow(buf, upTo-have)
		n, err := io.ReadFull(from, buf[have:upTo])
		buf = buf[:have+n]
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return buf, truncated(err, "body")
		}
	}
	return buf, nil
}

// truncated turns the end of the stream within a frame into a fault, and returns other errors as they are.
func truncated(err error, where string) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return faultf(ReasonTruncated, "the connection ended within the %s of a frame", where)
	}
	return err
}
