package node

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// patience bounds every wait of these tests. None asserts that anything is faster.
const patience = 30 * time.Second

// eventually waits until a condition is true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// database is what the processes of a test share: objects, the members table, and which
// transactions are open.
type database struct {
	mu     sync.Mutex
	values map[string]string
	loads  map[string]int            // how often a cache loaded each key
	last   map[string]coherence.Time // when it did so last
	rows   map[uint64]memberRow
	marked []uint64 // every process that was ever marked out
	open   map[string]bool
	read   int    // how often the members table was read
	broken string // why loads fail; "": they do not
	notes  map[coherence.OutsideID]note
}

// note is a note of a write from outside.
type note struct {
	database    int // its number
	keys        []string
	rows        uint64
	application string
}

type memberRow struct {
	Incarnation uint64 `json:"incarnation"`
	Address     string `json:"address"`
	Host        string `json:"host"`
	State       string `json:"state"`
	Reason      string `json:"reason"`

	Applied []coherence.OutsideID `json:"applied"`
}

func newDatabase() *database {
	return &database{values: make(map[string]string), loads: make(map[string]int), last: make(map[string]coherence.Time),
		rows: make(map[uint64]memberRow), open: make(map[string]bool),
		notes: make(map[coherence.OutsideID]note)}
}

// with runs f while nothing else reads or writes.
func (d *database) with(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// load is a cache's load: counted, and packed as Python packs it.
func (d *database) load(keys [][]byte) (packed []byte, failed string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var results []cache.Result
	for _, key := range keys {
		d.loads[string(key)]++
		d.last[string(key)] = now()
		results = append(results, cache.Result{Value: []byte(d.values[string(key)]), Source: cache.Database})
	}
	return bridge.PackResults(results), d.broken
}

// get is a read without any cache.
func (d *database) get(key string) (value string) {
	d.with(func() { value = d.values[key] })
	return value
}

func (d *database) loadsOf(key string) (n int) {
	d.with(func() { n = d.loads[key] })
	return n
}

func (d *database) loadedAt(key string) (at coherence.Time) {
	d.with(func() { at = d.last[key] })
	return at
}

func (d *database) row(who uint64) (row memberRow) {
	d.with(func() { row = d.rows[who] })
	return row
}

// answer executes a database query, as Python does; looks are the databases that the process reaches.
func (d *database) answer(q bridge.Query, looks []look) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	row, there := d.rows[q.Incarnation]
	switch q.Op {
	case "take_view":
		d.read++
		return form(map[string]any{"rows": slices.Collect(maps.Values(d.rows)), "reached": looks})
	case "post":
		d.rows[q.Incarnation] = memberRow{Incarnation: q.Incarnation, Address: q.Address, Host: q.Host, State: "joining"}
	case "elect":
		for who, other := range d.rows {
			if who != q.Incarnation && (other.State == "in" || other.State == "boot") {
				return form(map[string]any{"done": false})
			}
		}
		return d.turn(row, there && row.State == "joining", "boot")
	case "enter":
		return d.turn(row, there && row.State != "out", "in")
	case "mark_out":
		d.marked = append(d.marked, q.Incarnation)
		row.Reason = q.Reason
		return d.turn(row, there, "out")
	case "remove":
		delete(d.rows, q.Incarnation)
	case "applied":
		if row.State == "in" {
			row.Applied = q.Outside
			d.rows[q.Incarnation] = row
		}
	case "forget_outside":
		for _, id := range q.Outside {
			delete(d.notes, id)
		}
	case "open_transactions":
		return form(map[string]any{"open": slices.Collect(maps.Keys(d.open))})
	default:
		return form(map[string]any{"error": "unknown query " + q.Op})
	}
	return form(map[string]any{})
}

// look is a database that a view has reached.
type look struct {
	At      int                   `json:"word"` // where its deadline is, in the version table
	Asked   coherence.Time        `json:"asked"`
	Outside []coherence.OutsideID `json:"outside"`
}

// looks returns the databases that a view reaches.
func (p *process) looks(q bridge.Query) []look {
	looks := []look{{coherence.DeadlineWord(0), coherence.Time(q.Asked), p.notesOf(0)}}
	if !p.secondAway.Load() {
		asked := coherence.Time(cmp.Or(p.secondAsked.Load(), q.Asked))
		looks = append(looks, look{coherence.DeadlineWord(1), asked, p.notesOf(1)})
	}
	return looks
}

// writeOutside writes without any process, and returns the id of the note; no keys: everything may have
// changed.
func (d *database) writeOutside(n note, value string) coherence.OutsideID {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range n.keys {
		d.values[key] = value
	}
	id := coherence.OutsideID(random()>>5 | 1)
	d.notes[id] = n
	return id
}

func (d *database) noteCount() (n int) {
	d.with(func() { n = len(d.notes) })
	return n
}

// notesOf registers the notes of a database, and lists them.
func (p *process) notesOf(number int) (ids []coherence.OutsideID) {
	p.db.with(func() {
		for id, n := range p.db.notes {
			if n.database != number {
				continue
			}
			ids = append(ids, id)
			if !p.unregistered.Load() {
				nonce := uint64(id) * 0x9E3779B97F4A7C15
				if err := p.OutsideWrite(uint64(id), nonce, packed(n.keys...), len(n.keys) == 0, n.rows, n.application); err != nil {
					p.t.Error(err)
				}
			}
		}
	})
	return ids
}

func (d *database) turn(row memberRow, may bool, state string) []byte {
	if may {
		row.State = state
		d.rows[row.Incarnation] = row
	}
	return form(map[string]any{"done": may, "open": slices.Collect(maps.Keys(d.open))})
}

func form(answer any) []byte {
	text, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	return text
}
