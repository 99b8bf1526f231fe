package node

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"testing"
	"time"

	"guillotina_groupcache/internal/bridge"
)

// A view shows what the table held at some time after the query, so its lease is counted from the query
// (R2), however long the answer takes.
func TestAViewCountsFromItsQuery(t *testing.T) {
	const lease = time.Second
	p := open(t, newDatabase(), settings{"listen": unixAddress(t), "lease": lease.Seconds()})
	eventually(t, "it serves", p.serves)
	resume := p.pausePython()
	defer resume()
	id, answer := p.heldView()
	asked := now() // or a little earlier
	eventually(t, "its answer is late by a lease", func() bool { return now() > asked.Add(lease) })
	p.Answer(id, answer)
	if deadline := p.Memory.table.DatabaseDeadline(0); deadline > asked.Add(lease) {
		t.Errorf("it may serve for %v longer than a lease from the query", time.Duration(deadline-asked.Add(lease)))
	}
	if p.serves() {
		t.Error("it serves by a view that is older than a lease")
	}
	resume()
	eventually(t, "it serves by a new one", p.serves)
}

// heldView does Python's part while Python is paused: it executes everything until a view is queried, and
// returns its answer without giving it.
func (p *process) heldView() (id uint64, answer []byte) {
	eventually(p.t, "a view is asked for", func() bool {
		buf := make([]byte, 1<<16)
		for b := buf[:max(p.Queue.Drain(buf), 0)]; len(b) > 0; {
			size := binary.LittleEndian.Uint32(b)
			kind, number, payload := bridge.CompletionKind(b[4]), binary.LittleEndian.Uint64(b[8:]), b[16:size:size]
			var q bridge.Query
			if kind == bridge.DatabaseQuery && json.Unmarshal(payload, &q) == nil && q.Op == "take_view" {
				id, answer = number, p.db.answer(q, p.looks(q))
			} else {
				p.take(kind, number, payload)
			}
			b = b[size:]
		}
		return answer != nil
	})
	return id, answer
}

// A row that no process can own is left out of the view, and counts as deleted.
func TestAMalformedRowIsLeftOutAndMissed(t *testing.T) {
	p := open(t, newDatabase(), settings{"listen": unixAddress(t)})
	eventually(t, "it serves", p.serves)
	resume := p.pausePython()
	defer resume()
	id, text := p.heldView()
	const garbage = `"rows":[{"incarnation":0,"state":"in"},{"incarnation":7,"state":"elsewhere"},`
	text = bytes.Replace(text, []byte(`"rows":[`), []byte(garbage), 1)
	before := p.Memory.table.DatabaseDeadline(0)
	p.Answer(id, text)
	if p.Memory.table.DatabaseDeadline(0) <= before || !p.serves() {
		t.Error("the view was taken for none")
	}
	if rows := p.rows(); len(rows) != 0 {
		t.Errorf("it knows %v", rows)
	}
}
