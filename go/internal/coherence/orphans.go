package coherence

import (
	"maps"
	"slices"
)

// R6: an open event that nobody settles is an orphan. Its transaction had written before it was announced,
// so when the writing transactions that were open after its arrival have ended, it is over, either way. No
// judgement about which process is dead is needed, and no message of another process: a message that says
// that an event is over is a hint to ask the database now (R17).

// orphans is which databases are asked about orphans.
type orphans struct {
	cfg    *Config
	out    *outbox
	events *events

	asked map[string]Time // when a database was asked that has not answered yet
	next  Time            // when to look again
}

// transactions are the writing transactions that were open at some time.
type transactions struct{ ids []string }

// of returns the orphans of a database.
func (r *orphans) of(database string, now Time) (found []*openEvent) {
	causes := r.events.doubt.causes[database]
	if causes == nil {
		return nil
	}
	for e := causes.Front(); e != nil; e = e.Next() {
		o := e.Value.(*openEvent)
		if o.own != nil && o.own.lost || o.own == nil && (o.hinted || now >= o.since.Add(r.cfg.OrphanAfter)) {
			found = append(found, o)
		}
	}
	return found
}

// watch asks each database that has orphans, one database query at a time.
func (r *orphans) watch(now Time) {
	if now < r.next {
		return
	}
	r.next = now.Add(retry)
	if r.asked == nil {
		r.asked = make(map[string]Time)
	}
	for _, database := range slices.Sorted(maps.Keys(r.events.doubt.causes)) {
		if _, asked := r.asked[database]; !asked && len(r.of(database, now)) > 0 {
			r.asked[database] = now
			r.out.act(Action{Kind: OpenTransactions, Database: database})
		}
	}
}

// ids returns the ids of the orphans that a database is, or will be, asked about.
func (r *orphans) ids(now Time) (ids []Event) {
	for _, database := range slices.Sorted(maps.Keys(r.events.doubt.causes)) {
		for _, o := range r.of(database, now) {
			ids = append(ids, Event{ID: o.event.ID})
		}
	}
	return ids
}

// over returns the orphans of a database that are over, as the transactions that are open now show.
func (r *orphans) over(now Time, database string, open []string) (over []*openEvent) {
	asked := r.asked[database]
	latest := &transactions{open}
	ended := map[*transactions]bool{latest: len(open) == 0}
	for _, o := range r.of(database, now) {
		if o.since > asked {
			continue // its transaction may not be in the answer, which was asked for before
		}
		if o.before == nil {
			o.before = latest
		}
		if _, known := ended[o.before]; !known {
			ended[o.before] = !intersects(o.before.ids, open)
		}
		if ended[o.before] {
			over = append(over, o)
		}
	}
	return over
}

// OpenTransactions answers [OpenTransactions]: which writing transactions are open in the database, or in
// all of them when it is "", by ids that are not used again.
func (m *Machine) OpenTransactions(now Time, database string, open []string, err error) {
	if database == "" && m.join.phase == booting {
		if err == nil {
			m.boot(now, open)
		}
		return
	}
	if err == nil && m.join.phase == joined {
		for _, o := range m.orphans.over(now, database, open) {
			m.events.counts.Orphans++
			m.events.settle(o, true)
			m.enqueueAll(now, Entry{Event: o.event, Settled: true})
		}
	}
	delete(m.orphans.asked, database)
}

// hint is for a settlement that another process than the writer has sent. Of an event that was never
// announced here it counts for nothing. Where the event puts something in doubt, the database is asked.
// Where it does not, as its database is not served here, nobody here can ask; then the settlement is
// believed once the writer is out or has no row, and the event stays open for the processes that can.
func (m *Machine) hint(id EventID) {
	o := m.events.open[id]
	switch {
	case o != nil && o.bumped:
	case o == nil || o.own != nil || !m.join.hasCopy() || o.cause == nil && m.members.isLive(id.Writer):
		m.events.counts.Refused++
	case o.cause != nil:
		o.hinted = true
	default:
		m.events.bump(o.event)
		m.events.count(o.event)
		m.events.settled.mark(id)
		o.bumped = true
	}
}

func intersects(a, b []string) bool {
	in := make(map[string]struct{}, len(b))
	for _, x := range b {
		in[x] = struct{}{}
	}
	return slices.ContainsFunc(a, func(x string) bool {
		_, found := in[x]
		return found
	})
}
