package bridge

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"guillotina_groupcache/internal/coherence"
)

// Queries are the database queries of the state machine, which Python executes: on the members table, and
// about open transactions. Python answers each one, if only with a failure. The caller holds the
// machine's lock for every call.
type Queries struct {
	Outside *OutsideWrites

	// Pending are the queries that Python has not answered, by their ids. A restart of the machine
	// empties it: the machine asks again, and a late answer must not be taken for the new one.
	Pending map[uint64]Then

	queue     *Queue
	self      coherence.Row
	lease     time.Duration
	viewTaken func(m *coherence.Machine)
	last      uint64 // id of the last query
}

// Then hands the answer to a query to the machine; nil where the machine expects none.
type Then func(m *coherence.Machine, now coherence.Time, a *Answer)

// Query is a query as Python reads it.
type Query struct {
	Op          string `json:"op"`
	Incarnation uint64 `json:"incarnation,omitempty"` // of the row
	Address     string `json:"address,omitempty"`     // post
	Host        string `json:"host,omitempty"`        // post
	Reason      string `json:"reason,omitempty"`      // mark_out: by which process, and why
	Database    string `json:"database,omitempty"`    // open_transactions; "": of all
	Asked       int64  `json:"asked,omitempty"`       // take_view: when, by the library's clock
	Overdue     bool   `json:"overdue,omitempty"`     // mark_out: only if its heartbeat is overdue
	Missing     int    `json:"missing,omitempty"`     // write_off: by how many rows
	Counting    uint64 `json:"counting,omitempty"`    // write_off: which count
	Word        int    `json:"word,omitempty"`        // forget_outside: the database's

	Outside []coherence.OutsideID `json:"outside,omitzero"` // applied, forget_outside: notes
}

// NewQueries returns queries that go through a queue. self has the incarnation, address and host of this
// process's row; viewTaken is called after each view that the machine has taken.
func NewQueries(queue *Queue, self coherence.Row, lease time.Duration, viewTaken func(*coherence.Machine)) *Queries {
	return &Queries{queue: queue, self: self, lease: lease, viewTaken: viewTaken,
		Outside: NewOutsideWrites(queue.Log), Pending: make(map[uint64]Then)}
}

// Begin hands a query of the machine to Python. Its answer is true of some time after now.
func (q *Queries) Begin(m *coherence.Machine, now coherence.Time, a coherence.Action) {
	own := Query{Incarnation: uint64(q.self.Incarnation)}
	switch a.Kind {
	case coherence.TakeView:
		q.send(m, now, Query{Op: "take_view", Asked: int64(now)}, q.takeView(now))
	case coherence.Post:
		own.Op, own.Address, own.Host = "post", q.self.Address, q.self.Host
		q.send(m, now, own, func(m *coherence.Machine, now coherence.Time, a *Answer) { m.Posted(now, a.err()) })
	case coherence.Elect:
		own.Op = "elect"
		q.send(m, now, own, func(m *coherence.Machine, now coherence.Time, a *Answer) { m.Elected(now, a.Done, a.Open, a.err()) })
	case coherence.Enter:
		own.Op = "enter"
		q.send(m, now, own, func(m *coherence.Machine, now coherence.Time, a *Answer) { m.Entered(now, a.Done, a.err()) })
	case coherence.Remove:
		own.Op = "remove"
		q.send(m, now, own, nil)
	case coherence.MarkOut:
		q.send(m, now, Query{Op: "mark_out", Incarnation: uint64(a.To), Overdue: a.IfOverdue,
			Reason: cmp.Or(q.self.Address, "a client") + ": " + a.Text}, nil)
	case coherence.WriteOff:
		q.send(m, now, Query{Op: "write_off", Missing: a.Missing, Counting: a.Counting}, nil)
	case coherence.AcknowledgeOutside:
		own.Op, own.Outside = "applied", a.Outside
		q.send(m, now, own, nil)
	case coherence.ForgetOutside:
		q.send(m, now, Query{Op: "forget_outside", Word: coherence.DeadlineWord(a.Number), Outside: a.Outside}, nil)
	case coherence.OpenTransactions:
		database := a.Database
		q.send(m, now, Query{Op: "open_transactions", Database: database},
			func(m *coherence.Machine, now coherence.Time, a *Answer) {
				m.OpenTransactions(now, database, a.Open, a.err())
			})
	}
}

// send gives a query to Python. When the queue is full it fails at once: the machine asks one thing
// at a time, and without an answer would never ask again.
func (q *Queries) send(m *coherence.Machine, now coherence.Time, query Query, then Then) {
	text, err := json.Marshal(query)
	if err != nil {
		panic(err) // strings and numbers always have a JSON form
	}
	q.last++
	if q.queue.Put(DatabaseQuery, q.last, text) {
		q.Pending[q.last] = then
	} else if then != nil {
		then(m, now, &Answer{Error: errQueueFull.Error()})
	}
}

// Answer hands Python's answer to a query to the machine. An answer to a query that is not pending
// is ignored.
func (q *Queries) Answer(m *coherence.Machine, now coherence.Time, id uint64, a *Answer) {
	then := q.Pending[id]
	delete(q.Pending, id)
	if then != nil {
		then(m, now, a)
	}
}

// Answer is an answer as Python writes it; which fields are there depends on the query.
type Answer struct {
	Error    string          `json:"error"`
	Rows     []coherence.Row `json:"rows"`     // take_view
	Missing  int             `json:"missing"`  // take_view: how many rows fewer there are than were counted
	Counting uint64          `json:"counting"` // take_view: which count that is
	Reached  []reached       `json:"reached"`  // take_view
	Done     bool            `json:"done"`     // elect, enter
	Open     []string        `json:"open"`     // elect, open_transactions
}

// reached is a database that has answered, for this view or an earlier one.
type reached struct {
	Word  int            `json:"word"`  // of the database, in the version table
	Asked coherence.Time `json:"asked"` // when the view was asked for with which the look began
	// Outside is all notes that the look has shown; Python has registered each one before.
	Outside []coherence.OutsideID `json:"outside"`
}

// ParseAnswer reads an answer in JSON; a malformed one is a failure.
func ParseAnswer(text []byte) *Answer {
	a := new(Answer)
	if err := json.Unmarshal(text, a); err != nil {
		a.Error = fmt.Sprintf("malformed answer: %v", err)
	}
	return a
}

func (a *Answer) err() error {
	if a.Error == "" {
		return nil
	}
	return errors.New(a.Error)
}

// rows returns the rows that a process can own. Python leaves the others out; if one is here all the
// same, it must not cost the whole view.
func (a *Answer) rows() []coherence.Row {
	return slices.DeleteFunc(slices.Clone(a.Rows), func(r coherence.Row) bool {
		return r.State == 0 || r.Incarnation == 0
	})
}

// takeView returns what to do with the answer to a view that was asked for at a time.
func (q *Queries) takeView(asked coherence.Time) Then {
	return func(m *coherence.Machine, now coherence.Time, a *Answer) {
		rows, err := a.rows(), a.err()
		if err == nil {
			// A row that is left out counts as deleted.
			m.Missing(now, asked, a.Missing+len(a.Rows)-len(rows), a.Counting)
			q.takeLooks(m, now, asked, a.Reached)
		}
		m.ViewTaken(now, asked, rows, err)
		if err == nil {
			q.viewTaken(m)
		}
	}
}

// takeLooks hands the databases that were reached to the machine, and before each one what was written to
// it from outside (R14). None can have been asked later than the view.
func (q *Queries) takeLooks(m *coherence.Machine, now, asked coherence.Time, databases []reached) {
	for i := range databases {
		r := &databases[i]
		if looked := min(r.Asked, asked); q.Outside.take(m, r, now, looked) {
			m.DatabaseReached(r.Word-coherence.DeadlineWord(0), looked)
		}
	}
	q.Outside.forget(now, keepNotes*q.lease)
}
