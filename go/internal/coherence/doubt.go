package coherence

import "container/list"

// doubt is what is in doubt now, because of which events.
//
// An open event puts its buckets in doubt where its database is served: no key of another database can
// have been changed by it. An event over a database that this process does not serve is known here all
// the same: a process that copies from here may serve that database, and this process may begin to.
type doubt struct {
	table   *Table
	served  map[string]struct{}     // ids of the databases that this process serves
	causes  map[string]*list.List   // open events that put something in doubt, by database, in the order of arrival
	buckets map[uint32]*bucketDoubt // buckets with such an event
	// leaving are the databases that are not served any more, and the latest deadline that readers of
	// their keys can have seen.
	leaving    map[string]Time
	allOpen    int    // causes that are over all buckets
	allTouched uint64 // how often all buckets were touched: by an announcement, a settlement or a note
}

type bucketDoubt struct {
	events    int
	contended bool // more than one event has touched the bucket since it came into doubt
}

func newDoubt(table *Table) doubt {
	return doubt{
		table: table, served: make(map[string]struct{}), leaving: make(map[string]Time),
		causes: make(map[string]*list.List), buckets: make(map[uint32]*bucketDoubt),
	}
}

// emptied returns a doubt of nothing, where the same databases are served.
func (d *doubt) emptied() doubt {
	empty := newDoubt(d.table)
	empty.served, empty.leaving, empty.allTouched = d.served, d.leaving, d.allTouched
	return empty
}

// Serve reports that this process begins to serve a database, by its id, before any key of it is served:
// its open events put something in doubt from now on.
func (m *Machine) Serve(database string) {
	d := &m.events.doubt
	delete(d.leaving, database)
	if _, known := d.served[database]; known {
		return
	}
	d.served[database] = struct{}{}
	for _, o := range inOrder(m.events.open) {
		d.begin(o)
	}
}

// Unserve reports that no key of a database is served any more. The doubt of its open events stays
// as long as a reader may have loaded a deadline before.
func (m *Machine) Unserve(database string) {
	if _, known := m.events.doubt.served[database]; known {
		m.events.doubt.leaving[database] = m.view.lastDeadline
	}
}

// endLeaving ends the doubt over databases of which nobody reads a key any more.
func (ev *events) endLeaving(now Time) {
	d := &ev.doubt
	for database, last := range d.leaving {
		if now <= last {
			continue
		}
		delete(d.leaving, database)
		delete(d.served, database)
		for _, o := range inOrder(ev.open) {
			if !d.concerns(o) {
				d.end(o)
			}
		}
	}
}

// concerns reports whether an event may change keys that are served here: it is over a database that is
// served, or is one of this process itself.
func (d *doubt) concerns(o *openEvent) bool {
	_, served := d.served[o.event.Database]
	return served || o.own != nil
}

// begin brings an open event's buckets into doubt, if keys that are served may be in them.
func (d *doubt) begin(o *openEvent) {
	if o.cause != nil || !d.concerns(o) {
		return
	}
	causes := d.causes[o.event.Database]
	if causes == nil {
		causes = list.New()
		d.causes[o.event.Database] = causes
	}
	o.cause = causes.PushBack(o)
	if o.event.All {
		d.allOpen++
		d.allTouched++
		d.table.setDoubt(wordEpoch, true)
	}
	for _, b := range o.event.Buckets {
		bucket := d.buckets[b]
		if bucket == nil {
			bucket = &bucketDoubt{}
			d.buckets[b] = bucket
			d.table.setDoubt(TableHeader+int(b), true)
		}
		bucket.events++
		bucket.contended = bucket.contended || bucket.events > 1
	}
}

// end takes back what begin did for an event, and no more than that.
func (d *doubt) end(o *openEvent) {
	if o.cause == nil {
		return
	}
	causes := d.causes[o.event.Database]
	if causes.Remove(o.cause); causes.Len() == 0 {
		delete(d.causes, o.event.Database)
	}
	o.cause = nil
	if o.event.All {
		if d.allOpen--; d.allOpen == 0 {
			d.table.setDoubt(wordEpoch, false)
		}
	}
	for _, b := range o.event.Buckets {
		if bucket := d.buckets[b]; bucket.events > 1 {
			bucket.events--
		} else {
			delete(d.buckets, b)
			d.table.setDoubt(TableHeader+int(b), false)
		}
	}
}

// bump adds a nonce to the versions of buckets, or of all. Where another event has one of them in doubt,
// the bucket has been touched by this one meanwhile, so nothing is pushed to it (R8).
func (d *doubt) bump(all bool, buckets []uint32, nonce uint64) {
	if all {
		d.allTouched++
		d.table.bump(wordEpoch, nonce)
	}
	for _, b := range buckets {
		d.table.bump(TableHeader+int(b), nonce)
		if bucket := d.buckets[b]; bucket != nil {
			bucket.contended = true
		}
	}
}

// untouched returns the buckets of an event of this process that nothing else has touched since its announcement.
func (d *doubt) untouched(o *openEvent) (buckets []uint32) {
	if o.event.All || d.allOpen > 0 || o.allTouched != d.allTouched {
		return nil
	}
	for _, b := range o.event.Buckets {
		if bucket := d.buckets[b]; bucket.events == 1 && !bucket.contended {
			buckets = append(buckets, b)
		}
	}
	return buckets
}

// show marks in the table what is in doubt, and nothing else.
func (d *doubt) show() {
	d.table.setDoubt(wordEpoch, d.allOpen > 0)
	for b := range d.table.Buckets() {
		if _, inDoubt := d.buckets[b]; inDoubt || d.table.isOdd(TableHeader+int(b)) {
			d.table.setDoubt(TableHeader+int(b), inDoubt)
		}
	}
}
