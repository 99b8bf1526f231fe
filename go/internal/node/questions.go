package node

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/coherence"
)

// questions is what Python was asked of the database: the members table, and which writing
// transactions are open. Python answers each one, be it with a failure.
type questions struct {
	lastQuestion uint64
	pending      map[uint64]func(m *coherence.Machine, now coherence.Time, a answer)
}

// question as Python reads it.
type question struct {
	Op          string `json:"op"`
	Incarnation uint64 `json:"incarnation,omitempty"` // whose row
	Address     string `json:"address,omitempty"`     // post
	Host        string `json:"host,omitempty"`        // post
	Reason      string `json:"reason,omitempty"`      // mark_out: who does so, and why
	Database    string `json:"database,omitempty"`    // open_transactions; "": of all
	Asked       int64  `json:"asked,omitempty"`       // read: when, by the library's clock
	Silent      bool   `json:"overdue,omitempty"`     // mark_out: only if it has not been heard of for a while
	Missing     int    `json:"missing,omitempty"`     // write_off: by how many rows
	Counting    uint64 `json:"counting,omitempty"`    // write_off: which count
	Word        int    `json:"word,omitempty"`        // forget_outside: of the database, as Node.Database gave it

	Outside []coherence.OutsideID `json:"outside,omitzero"` // applied, forget_outside: notes
}

// answer as Python writes it; which fields are there depends on the question.
type answer struct {
	Error string `json:"error"`
	Rows  []struct {
		Incarnation uint64 `json:"incarnation"`
		Address     string `json:"address"`
		Host        string `json:"host"`
		State       string `json:"state"`
		Reason      string `json:"reason"`
		Silent      bool   `json:"overdue"`

		Applied []coherence.OutsideID `json:"applied"` // notes that it says it has applied
	} `json:"rows"`
	Missing  int       `json:"missing"`  // read: how many rows fewer there are than were counted
	Counting uint64    `json:"counting"` // read: which count that is
	Reached  []reached `json:"reached"`  // read
	Done     bool      `json:"done"`     // elect, enter
	Open     []string  `json:"open"`     // elect, open_transactions
}

// reached is a database that has answered, in this view or since an earlier one.
type reached struct {
	Word  int            `json:"word"`  // that Node.Database gave
	Asked coherence.Time `json:"asked"` // when the view was asked for with which the look began
	// Outside is all notes that the look has shown; Node.OutsideWrite has told of each before.
	Outside []coherence.OutsideID `json:"outside"`
}

func (a *answer) err() error {
	if a.Error == "" {
		return nil
	}
	return errors.New(a.Error)
}

// ask hands a question of the machine to Python. The caller holds mu. Time counts from here.
func (n *Node) ask(a coherence.Action) {
	own := question{Incarnation: uint64(n.incarnation)}
	asked := now()
	switch a.Kind {
	case coherence.TakeView:
		n.put(question{Op: "take_view", Asked: int64(asked)}, func(m *coherence.Machine, now coherence.Time, a answer) {
			rows, err := a.rows(), a.err()
			if err == nil {
				// A row that is left out counts for one that somebody has deleted.
				m.Missing(now, asked, a.Missing+len(a.Rows)-len(rows), a.Counting)
				n.tellReached(m, now, asked, a.Reached)
			}
			m.ViewTaken(now, asked, rows, err)
			if err == nil {
				n.listed.note(m)
			}
		})
	case coherence.Post:
		own.Op, own.Address, own.Host = "post", n.address, n.host
		n.put(own, func(m *coherence.Machine, now coherence.Time, a answer) { m.Posted(now, a.err()) })
	case coherence.Elect:
		own.Op = "elect"
		n.put(own, func(m *coherence.Machine, now coherence.Time, a answer) { m.Elected(now, a.Done, a.Open, a.err()) })
	case coherence.Enter:
		own.Op = "enter"
		n.put(own, func(m *coherence.Machine, now coherence.Time, a answer) { m.Entered(now, a.Done, a.err()) })
	case coherence.Remove:
		own.Op = "remove"
		n.put(own, nil)
	case coherence.MarkOut:
		n.put(question{Op: "mark_out", Incarnation: uint64(a.To), Silent: a.IfOverdue,
			Reason: cmp.Or(n.address, "a client") + ": " + a.Text}, nil)
	case coherence.WriteOff:
		n.put(question{Op: "write_off", Missing: a.Missing, Counting: a.Counting}, nil)
	case coherence.AcknowledgeOutside:
		own.Op, own.Outside = "applied", a.Outside
		n.put(own, nil)
	case coherence.ForgetOutside:
		n.put(question{Op: "forget_outside", Word: coherence.DeadlineWord(a.Number), Outside: a.Outside}, nil)
	case coherence.OpenTransactions:
		database := a.Database
		n.put(question{Op: "open_transactions", Database: database},
			func(m *coherence.Machine, now coherence.Time, a answer) {
				m.OpenTransactions(now, database, a.Open, a.err())
			})
	}
}

func (n *Node) put(q question, then func(*coherence.Machine, coherence.Time, answer)) {
	if n.pending == nil {
		n.pending = make(map[uint64]func(*coherence.Machine, coherence.Time, answer))
	}
	n.lastQuestion++
	n.pending[n.lastQuestion] = then
	text, err := json.Marshal(q)
	if err != nil {
		panic(err) // strings and numbers always have a JSON form
	}
	if !n.queue.Put(bridge.Database, n.lastQuestion, text) {
		// The machine asks one thing at a time: without any answer it would never ask again.
		delete(n.pending, n.lastQuestion)
		if then != nil {
			then(n.machine, now(), answer{Error: errQueueFull.Error()})
		}
	}
}

// Answer takes Python's answer, in JSON, to a question.
func (n *Node) Answer(id uint64, text []byte) error {
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		a.Error = fmt.Sprintf("malformed answer: %v", err)
	}
	n.input(func(m *coherence.Machine, now coherence.Time) {
		then := n.pending[id]
		delete(n.pending, id)
		if then != nil {
			then(m, now, a)
		}
	})
	return nil
}

// tellReached names the databases that were reached, and before each what was written to it from
// outside (R14). None can have been asked later than the view. The caller holds mu.
func (n *Node) tellReached(m *coherence.Machine, now, asked coherence.Time, databases []reached) {
	for i := range databases {
		r := &databases[i]
		if looked := min(r.Asked, asked); n.outsideWrites.take(n, m, r, now, looked) {
			m.DatabaseReached(r.Word-coherence.DeadlineWord(0), looked)
		}
	}
	n.outsideWrites.forget(now, keepNotes*seconds(n.cfg.Lease))
}

// rows returns the rows that a process can own. Python leaves the others out; where it does not,
// one of them must not cost the whole view.
func (a *answer) rows() []coherence.Row {
	rows := make([]coherence.Row, 0, len(a.Rows))
	for _, r := range a.Rows {
		state := coherence.ParseState(r.State)
		if state == 0 || r.Incarnation == 0 {
			continue
		}
		rows = append(rows, coherence.Row{Incarnation: coherence.Incarnation(r.Incarnation), Address: r.Address,
			Host: r.Host, State: state, Reason: r.Reason, Overdue: r.Silent, Applied: r.Applied})
	}
	return rows
}
