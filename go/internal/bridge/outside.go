package bridge

import (
	"slices"
	"time"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// OutsideWrites keeps what Python has said of notes (R14): once what each one names, and from then
// on only its id, with every view whose look at the note's database shows it. The caller holds the
// state machine's lock for every call.
type OutsideWrites struct {
	log func(level, text string)

	// Listed is what the last look at each database has shown, by the database's word.
	Listed     map[int][]coherence.OutsideID
	registered map[coherence.OutsideID]*registered
	missing    bool // a look showed a note that was not registered, and the log says so
	totals     OutsideStatistics
}

type registered struct {
	write coherence.OutsideWrite
	seen  coherence.Time // when it was registered, or the last view came that listed it
}

// keepNotes is how many leases after that a note is kept.
const keepNotes = 4

// NewOutsideWrites returns a register without notes.
func NewOutsideWrites(log func(level, text string)) *OutsideWrites {
	return &OutsideWrites{log: log,
		registered: make(map[coherence.OutsideID]*registered), Listed: make(map[int][]coherence.OutsideID)}
}

// Note is what Python says once of a note.
type Note struct {
	write       coherence.OutsideWrite
	rows        uint64
	application string
}

// NewNote returns a note that names packed keys, or everything. nonce is the note's at every
// process; its lowest bit does not count. rows, 0 where that is not known, and application are for
// the statistics. It needs no lock.
func NewNote(table *coherence.Table, id, nonce uint64, packed []byte, all bool, rows uint64, application string) (*Note, error) {
	keys, err := UnpackList(packed)
	if err != nil {
		return nil, err
	}
	w := coherence.OutsideWrite{ID: coherence.OutsideID(id), Nonce: max(nonce&^1, 2), All: all}
	if !all {
		for _, key := range keys {
			w.Buckets = append(w.Buckets, table.Bucket(cache.Hash(key)))
		}
		slices.Sort(w.Buckets)
		w.Buckets = slices.Compact(w.Buckets)
	}
	return &Note{w, rows, application}, nil
}

// Register takes a note, once. The views that list it come later; a process alone takes no views, so
// there the note is only counted.
func (o *OutsideWrites) Register(note *Note, now coherence.Time, alone bool) {
	id := note.write.ID
	if o.registered[id] != nil {
		return
	}
	o.totals.count(note.write.All, note.rows, note.application)
	if !alone {
		o.registered[id] = &registered{note.write, now}
	}
}

// take hands the notes that a look at a database has shown to the machine. It is false where one was
// not registered: the whole look is then not taken, because its deadline would outlive what the note
// names.
func (o *OutsideWrites) take(m *coherence.Machine, r *reached, now, asked coherence.Time) bool {
	writes := make([]*coherence.OutsideWrite, len(r.Outside))
	for i, id := range r.Outside {
		known := o.registered[id]
		if known == nil {
			if !o.missing {
				o.missing = true
				o.log("warning", "a look at a database lists a write from outside whose content is not known:"+
					" the keys of this database bypass the cache")
			}
			return false
		}
		known.seen = now
		writes[i] = &known.write
	}
	o.missing = false
	o.Listed[r.Word] = r.Outside
	m.OutsideWrites(r.Word-coherence.DeadlineWord(0), asked, writes)
	return true
}

// forget drops the notes that no look has shown for some time.
func (o *OutsideWrites) forget(now coherence.Time, after time.Duration) {
	for _, ids := range o.Listed {
		for _, id := range ids {
			if known := o.registered[id]; known != nil {
				known.seen = now
			}
		}
	}
	for id, known := range o.registered {
		if now >= known.seen.Add(after) {
			delete(o.registered, id)
		}
	}
}
