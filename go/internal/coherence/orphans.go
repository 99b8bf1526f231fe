package coherence

import (
	"maps"
	"slices"
)

// R6: an open event whose writer is silent is an orphan. Its transaction had written before it
// was announced, so when the writing transactions that were open after its arrival have
// ended, it is over, either way. No judgement about who is dead is needed, and no word of another
// process: that an event is over is a hint to ask the database now (R17).

// orphans is which databases were asked and when to ask again.
type orphans struct {
	askedOrphans map[string]Time // when; one question at a time to a database
	lookAgain    Time
}

// transactions is which writing transactions were open at some time.
type transactions struct{ names []string }

func (m *Machine) watchOrphans(now Time) {
	if m.phase != joined || now < m.lookAgain {
		return
	}
	m.lookAgain = now.Add(retry)
	if m.askedOrphans == nil {
		m.askedOrphans = make(map[string]Time)
	}
	for _, database := range slices.Sorted(maps.Keys(m.causes)) {
		if _, asked := m.askedOrphans[database]; !asked && m.hasOrphan(now, database) {
			m.askedOrphans[database] = now
			m.act(Action{Kind: OpenTransactions, Database: database})
		}
	}
}

func (m *Machine) hasOrphan(now Time, database string) bool {
	for e := m.causes[database].Front(); e != nil; e = e.Next() {
		if m.isOrphan(now, e.Value.(*openEvent)) {
			return true
		}
	}
	return false
}

func (m *Machine) isOrphan(now Time, o *openEvent) bool {
	if o.own != nil {
		return o.own.lost
	}
	return o.hinted || now >= o.since.Add(m.cfg.OrphanAfter)
}

// OpenTransactions answers [OpenTransactions]: which writing transactions are open in the
// database, or in all of them when it is "", by names that are not used again.
func (m *Machine) OpenTransactions(now Time, database string, open []string, err error) {
	if database == "" && m.phase == booting {
		if err == nil {
			m.boot(now, open)
		}
		return
	}
	asked := m.askedOrphans[database]
	delete(m.askedOrphans, database)
	causes := m.causes[database]
	if err != nil || m.phase != joined || causes == nil {
		return
	}
	latest := &transactions{open}
	over := map[*transactions]bool{latest: len(open) == 0}
	for e := causes.Front(); e != nil; {
		o := e.Value.(*openEvent)
		e = e.Next()
		if !m.isOrphan(now, o) || o.since > asked {
			continue // what arrived after the question may not be in the answer
		}
		if o.before == nil {
			o.before = latest
		}
		ended, known := over[o.before]
		if !known {
			ended = !intersects(o.before.names, open)
			over[o.before] = ended
		}
		if ended {
			m.counts.Orphans++
			m.settle(o)
			m.tellAll(now, Entry{Event: o.event, Settled: true})
		}
	}
}

// hint is for a settlement that another than the writer has told. Of an event that was never announced
// here it is nothing. Where the event puts something in doubt, the database is asked. Where it does
// not, as its database is not served here, nobody here can ask; then the settlement is believed once
// the writer is out or has no row, and the event stays open for those who can.
func (m *Machine) hint(id EventID) {
	o := m.open[id]
	switch {
	case o != nil && o.renamed:
	case o == nil || o.own != nil || !m.hasState() || o.cause == nil && m.isLive(id.Writer):
		m.counts.Refused++
	case o.cause != nil:
		o.hinted = true
	default:
		m.rename(o.event)
		m.count(o.event)
		m.markSettled(id)
		o.renamed = true
	}
}

// isLive tells whether the last view shows a process, and not as out.
func (m *Machine) isLive(who Incarnation) bool {
	if who == m.cfg.Incarnation {
		return true
	}
	p := m.members[who]
	return p != nil && p.shown && p.row.State != Out
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
