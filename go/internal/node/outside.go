package node

import (
	"cmp"
	"slices"
	"time"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// outsideWrites is what Python has told of notes (R14): of each once what it names, and then only
// its id with every view whose look at the database shows it. mu guards it.
type outsideWrites struct {
	registered map[coherence.OutsideID]*registered
	listed     map[int][]coherence.OutsideID // by the word of a database: what its last look has shown
	missing    bool                          // a look showed a note that nobody had told of
	outsideTotals
}

type registered struct {
	write coherence.OutsideWrite
	seen  coherence.Time // when it was registered, or the last view came that listed it
}

// keepNotes is for how many leases after that a note is kept.
const keepNotes = 4

// OutsideWrite tells once what a note names: packed keys, or all. nonce is any number that is the
// same at every process; its lowest bit has no part in it. rows, 0 where that is not known, and
// application are for the statistics. The views that list the note come later.
func (n *Node) OutsideWrite(id, nonce uint64, packed []byte, all bool, rows uint64, application string) error {
	keys, err := unpackKeys(packed)
	if err != nil {
		return err
	}
	w := coherence.OutsideWrite{ID: coherence.OutsideID(id), Nonce: max(nonce&^1, 2), All: all}
	if !all {
		for _, key := range keys {
			w.Buckets = append(w.Buckets, n.table.Bucket(cache.Hash(key)))
		}
		slices.Sort(w.Buckets)
		w.Buckets = slices.Compact(w.Buckets)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	o := &n.outsideWrites
	if o.registered[w.ID] != nil {
		return nil
	}
	o.count(all, rows, application)
	if n.cfg.Alone {
		return nil // it takes no views that list it
	}
	if o.registered == nil {
		o.registered = make(map[coherence.OutsideID]*registered)
	}
	o.registered[w.ID] = &registered{w, now()}
	return nil
}

// take tells the machine which notes a look at a database has shown. It is false where one was not
// registered: then the look counts for nothing, as its deadline would outlive what the note names.
func (o *outsideWrites) take(n *Node, m *coherence.Machine, r *reached, now, asked coherence.Time) bool {
	writes := make([]*coherence.OutsideWrite, len(r.Outside))
	for i, id := range r.Outside {
		known := o.registered[id]
		if known == nil {
			if !o.missing {
				o.missing = true
				n.log("warning", "a write from outside is listed and was not told of: its database is read past the cache")
			}
			return false
		}
		known.seen = now
		writes[i] = &known.write
	}
	o.missing = false
	if o.listed == nil {
		o.listed = make(map[int][]coherence.OutsideID)
	}
	o.listed[r.Word] = r.Outside
	m.OutsideWrites(r.Word-coherence.DeadlineWord(0), asked, writes)
	return true
}

// forget drops the notes that no look has shown for a while.
func (o *outsideWrites) forget(now coherence.Time, after time.Duration) {
	for _, ids := range o.listed {
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

const (
	// maxApplications is how many applications the statistics name; the one that was seen the
	// longest time ago goes.
	maxApplications = 32
	// maxApplicationName is as long as PostgreSQL's own limit, in characters.
	maxApplicationName = 64
)

// outsideTotals are totals since the start.
type outsideTotals struct {
	applied, everything, rows uint64
	applications              []application // the one that was seen last is last
}

type application struct {
	name        string
	notes, rows uint64
	last        time.Time
}

func (t *outsideTotals) count(all bool, rows uint64, name string) {
	t.applied++
	t.rows += rows
	if all {
		t.everything++
	}
	name = cut(name, maxApplicationName)
	a := application{name: name}
	if i := slices.IndexFunc(t.applications, func(a application) bool { return a.name == name }); i >= 0 {
		a = t.applications[i]
		t.applications = slices.Delete(t.applications, i, i+1)
	} else if len(t.applications) == maxApplications {
		t.applications = slices.Delete(t.applications, 0, 1)
	}
	a.notes, a.rows, a.last = a.notes+1, a.rows+rows, time.Now()
	t.applications = append(t.applications, a)
}

// cut returns the first characters of a text.
func cut(text string, characters int) string {
	for i := range text {
		if characters--; characters < 0 {
			return text[:i]
		}
	}
	return text
}

// outsideStatistics is what was written from outside, and by which applications.
type outsideStatistics struct {
	Applied       uint64                  `json:"applied"`    // notes
	Everything    uint64                  `json:"everything"` // those of them that were over everything
	Rows          uint64                  `json:"rows"`       // as far as it is known
	ByApplication []applicationStatistics `json:"by_application"`
}

type applicationStatistics struct {
	Application string  `json:"application"`
	Notes       uint64  `json:"notes"`
	Rows        uint64  `json:"rows"`
	Last        float64 `json:"last"` // seconds ago
}

// statistics names the applications by how many rows they have written.
func (t *outsideTotals) statistics() outsideStatistics {
	s := outsideStatistics{t.applied, t.everything, t.rows, []applicationStatistics{}}
	for _, a := range t.applications {
		s.ByApplication = append(s.ByApplication,
			applicationStatistics{a.name, a.notes, a.rows, time.Since(a.last).Seconds()})
	}
	slices.SortStableFunc(s.ByApplication, func(a, b applicationStatistics) int { return cmp.Compare(b.Rows, a.Rows) })
	return s
}
