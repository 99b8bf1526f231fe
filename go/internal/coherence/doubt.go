package coherence

import (
	"container/list"
)

// An open event puts its buckets in doubt where its database is served: no other key can have been
// changed by it. An event over a database that this process does not serve is known here all the
// same: whoever copies from it may serve that database, and this process may begin to.

// doubts is what is in doubt now, because of which events.
type doubts struct {
	servedHere map[string]struct{}   // ids of the databases that this process serves
	causes     map[string]*list.List // open events that put something in doubt, by database, as they came
	doubt      map[uint32]*doubt     // buckets with such an event
	// leaving are the databases that are not served any more, and the latest deadline that readers of
	// their keys can have seen.
	leaving map[string]Time
	allOpen int // such events over all buckets
}

type doubt struct {
	events    int
	contended bool // more than one event touched the bucket since it came into doubt
}

func newDoubts() doubts {
	return doubts{
		servedHere: make(map[string]struct{}), leaving: make(map[string]Time),
		causes: make(map[string]*list.List), doubt: make(map[uint32]*doubt),
	}
}

// again returns that nothing is in doubt, where the same databases are served.
func (d *doubts) again() doubts {
	fresh := newDoubts()
	fresh.servedHere, fresh.leaving = d.servedHere, d.leaving
	return fresh
}

// Serve tells that this process begins to serve a database, by its id, before any key of it is
// served: what is open over it is in doubt from now on.
func (m *Machine) Serve(database string) {
	delete(m.leaving, database)
	if _, known := m.servedHere[database]; known {
		return
	}
	m.servedHere[database] = struct{}{}
	for _, o := range inOrder(m.open) {
		m.bringIntoDoubt(o)
	}
}

// Unserve tells that no key of a database is served any more. What is open over it stays in doubt as long
// as a reader may have loaded a deadline before.
func (m *Machine) Unserve(database string) {
	if _, known := m.servedHere[database]; known {
		m.leaving[database] = m.served
	}
}

// endLeaving ends the doubt over databases of which nobody reads a key any more.
func (m *Machine) endLeaving(now Time) {
	for database, last := range m.leaving {
		if now <= last {
			continue
		}
		delete(m.leaving, database)
		delete(m.servedHere, database)
		for _, o := range inOrder(m.open) {
			if !m.touchesServed(o) {
				m.endDoubt(o)
			}
		}
	}
}

// touchesServed tells whether keys that are served here may be changed by an event: one of a
// database that is served, or one of this process itself.
func (m *Machine) touchesServed(o *openEvent) bool {
	_, served := m.servedHere[o.event.Database]
	return served || o.own != nil
}

// bringIntoDoubt brings an open event's buckets into doubt, if keys that are served are in them.
func (m *Machine) bringIntoDoubt(o *openEvent) {
	if o.cause != nil || !m.touchesServed(o) {
		return
	}
	causes := m.causes[o.event.Database]
	if causes == nil {
		causes = list.New()
		m.causes[o.event.Database] = causes
	}
	o.cause = causes.PushBack(o)
	if o.event.All {
		m.allOpen++
		m.allSeen++
		m.table.setDoubt(wordEpoch, true)
	}
	for _, b := range o.event.Buckets {
		d := m.doubt[b]
		if d == nil {
			d = &doubt{}
			m.doubt[b] = d
			m.table.setDoubt(TableHeader+int(b), true)
		}
		d.events++
		d.contended = d.contended || d.events > 1
	}
}

// endDoubt takes back what bringIntoDoubt did for an event, and no more than that.
func (m *Machine) endDoubt(o *openEvent) {
	if o.cause == nil {
		return
	}
	causes := m.causes[o.event.Database]
	if causes.Remove(o.cause); causes.Len() == 0 {
		delete(m.causes, o.event.Database)
	}
	o.cause = nil
	if o.event.All {
		if m.allOpen--; m.allOpen == 0 {
			m.table.setDoubt(wordEpoch, false)
		}
	}
	for _, b := range o.event.Buckets {
		if d := m.doubt[b]; d.events > 1 {
			d.events--
		} else {
			delete(m.doubt, b)
			m.table.setDoubt(TableHeader+int(b), false)
		}
	}
}
