package coherence

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
)

// ErrMalformed is the error of [Decode] for bytes that [Message.Append] did not write.
var ErrMalformed = errors.New("coherence: malformed message")

// Append appends the bytes of the message to b: numbers as varints, random numbers as eight bytes, lists
// after their length.
func (m *Message) Append(b []byte) []byte {
	b = append(b, byte(m.Kind))
	b = binary.LittleEndian.AppendUint64(b, m.Sequence)
	b = binary.AppendUvarint(b, m.Attempt)
	b = binary.AppendUvarint(b, uint64(len(m.Entries)))
	for _, e := range m.Entries {
		b = binary.AppendUvarint(b, e.Number)
		b = append(b, bit(e.Settled))
		b = e.Event.append(b)
	}
	if m.State == nil {
		return append(b, 0)
	}
	return m.State.append(append(b, 1))
}

func (e *Event) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(e.ID.Writer))
	b = binary.AppendUvarint(b, e.ID.Sequence)
	b = binary.LittleEndian.AppendUint64(b, e.Nonce)
	b = binary.AppendUvarint(b, uint64(len(e.Database)))
	b = append(b, e.Database...)
	b = append(b, bit(e.All))
	b = binary.AppendUvarint(b, uint64(len(e.Buckets)))
	for _, bucket := range e.Buckets {
		b = binary.AppendUvarint(b, uint64(bucket))
	}
	return b
}

func (s *Snapshot) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, s.Epoch)
	b = binary.AppendUvarint(b, uint64(len(s.Buckets)))
	for bucket, v := range s.Buckets {
		b = binary.AppendUvarint(b, uint64(bucket))
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	for _, events := range [][]Event{s.Open, s.Bumped, s.Recent, s.Relayed} {
		b = binary.AppendUvarint(b, uint64(len(events)))
		for i := range events {
			b = events[i].append(b)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.Settled)))
	for _, writer := range slices.Sorted(maps.Keys(s.Settled)) {
		by := s.Settled[writer]
		b = binary.LittleEndian.AppendUint64(b, uint64(writer))
		b = binary.AppendUvarint(b, by.Through)
		b = binary.AppendUvarint(b, by.Skipped)
		b = binary.AppendUvarint(b, uint64(len(by.Above)))
		for _, n := range by.Above {
			b = binary.AppendUvarint(b, n)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.Applied)))
	for _, id := range s.Applied {
		b = binary.LittleEndian.AppendUint64(b, uint64(id))
	}
	return b
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// Decode reads a message for a table of the given number of buckets. It never allocates a list that is
// longer than the bytes can hold.
func Decode(b []byte, buckets uint32) (*Message, error) {
	d := &decoder{b: b, buckets: buckets}
	m := &Message{Kind: MessageKind(d.byte()), Sequence: d.word(), Attempt: d.number()}
	for n := d.bounded(minEntry, entriesInMessage); n > 0 && !d.bad; n-- {
		m.Entries = append(m.Entries, Entry{Number: d.number(), Settled: d.flag(), Event: d.event()})
	}
	if d.flag() {
		d.bad = d.bad || m.Kind != Copy && m.Kind != Digest
		m.State = d.snapshot(m.Kind == Digest)
	}
	if m.Kind < Events || m.Kind > Outside || d.bad || len(d.b) > 0 {
		return nil, ErrMalformed
	}
	return m, nil
}

// The fewest bytes that an element of a list takes.
const (
	minEvent = 8 + 1 + 8 + 1 + 1 + 1
	minEntry = 2 + minEvent
)

// decoder takes values off the front of b. Once something is wrong it stays bad.
type decoder struct {
	b       []byte
	buckets uint32
	bad     bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return nil
	}
	taken := d.b[:n]
	d.b = d.b[n:]
	return taken
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) flag() bool {
	b := d.byte()
	d.bad = d.bad || b > 1
	return b == 1
}

func (d *decoder) word() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) number() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.take(n)
	return v
}

// bounded takes the length of a list of at most so many elements.
func (d *decoder) bounded(size, most int) int {
	n := d.length(size)
	if n > most {
		d.bad = true
		return 0
	}
	return n
}

// length takes the length of a list whose elements have at least size bytes each.
func (d *decoder) length(size int) int {
	n := d.number()
	if n > uint64(len(d.b)/size) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) bucket() uint32 {
	n := d.number()
	if n >= uint64(d.buckets) {
		d.bad = true
	}
	return uint32(n)
}

// even takes a nonce, an epoch or a version: the mark of doubt is not sent.
func (d *decoder) even() uint64 {
	v := d.word()
	d.bad = d.bad || v&1 != 0
	return v
}

func (d *decoder) event() Event {
	e := Event{ID: EventID{Incarnation(d.word()), d.number()}, Nonce: d.even()}
	e.Database = string(d.take(d.bounded(1, MaxDatabaseID)))
	e.All = d.flag()
	n := d.bounded(1, maxBuckets)
	d.bad = d.bad || e.All && n > 0
	for ; n > 0 && !d.bad; n-- {
		e.Buckets = append(e.Buckets, d.bucket())
	}
	// Sorted and distinct, as the writer made them: a bucket named twice would be bumped twice here, and
	// its doubt counted twice.
	if !slices.IsSorted(e.Buckets) || len(slices.Compact(slices.Clone(e.Buckets))) != len(e.Buckets) {
		d.bad = true
	}
	return e
}

func (d *decoder) events() []Event {
	var events []Event
	for n := d.length(minEvent); n > 0 && !d.bad; n-- {
		events = append(events, d.event())
	}
	return events
}

// snapshot takes a snapshot; that of a digest holds only what is compared.
func (d *decoder) snapshot(isDigest bool) *Snapshot {
	s := &Snapshot{Epoch: d.even()}
	if n := d.length(1 + 8); n > 0 {
		s.Buckets = make(map[uint32]uint64, n)
		for ; n > 0 && !d.bad; n-- {
			bucket := d.bucket()
			s.Buckets[bucket] = d.even()
		}
	}
	s.Open, s.Bumped, s.Recent, s.Relayed = d.events(), d.events(), d.events(), d.events()
	if isDigest && (len(s.Buckets) > 0 || len(s.Bumped)+len(s.Recent)+len(s.Relayed) > 0 || !areIDs(s.Open)) {
		d.bad = true
	}
	n := d.bounded(8+1+1+1, maxSettledWriters)
	s.Settled = make(map[Incarnation]SettledBy, n)
	for ; n > 0 && !d.bad; n-- {
		writer := Incarnation(d.word())
		s.Settled[writer] = d.settledBy()
	}
	for n := d.length(8); n > 0 && !d.bad; n-- {
		s.Applied = append(s.Applied, OutsideID(d.word()))
	}
	d.bad = d.bad || !slices.IsSorted(s.Applied)
	return s
}

// areIDs reports whether events hold nothing but their ids.
func areIDs(events []Event) bool {
	return !slices.ContainsFunc(events, func(e Event) bool { return !e.equal(&Event{ID: e.ID}) })
}

func (d *decoder) settledBy() SettledBy {
	by := SettledBy{Through: d.number(), Skipped: d.number()}
	for n := d.bounded(1, maxAbove); n > 0 && !d.bad; n-- {
		by.Above = append(by.Above, d.number())
	}
	d.bad = d.bad || !slices.IsSorted(by.Above)
	return by
}
