package node

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"guillotina_groupcache/internal/coherence"
)

// databases is which databases this process serves. Readers look into it without a lock.
type databases struct {
	list atomic.Pointer[[]served]
}

// served is a database, known by what its keys have between their first byte and an object's id:
// so the grammar of keys stays Python's. Its number is its place in the list.
type served struct {
	id     string
	prefix []byte
}

// ErrTooManyDatabases is the answer where [coherence.MaxDatabases] are served.
var ErrTooManyDatabases = errors.New("node: no room for one more database")

// Database serves the keys that have prefix behind their first byte, of the database that people
// know as id, and returns the word of the table that holds their deadline. A prefix that is known
// keeps its word, and the database has to be looked at anew.
func (n *Node) Database(id string, prefix []byte) (word int, err error) {
	if len(id) > coherence.MaxDatabaseID {
		return 0, fmt.Errorf("node: the id of a database has %d bytes, at most %d are allowed", len(id), coherence.MaxDatabaseID)
	}
	n.input(func(m *coherence.Machine, _ coherence.Time) {
		known := n.databases.all()
		number := slices.IndexFunc(known, func(d served) bool { return bytes.Equal(d.prefix, prefix) })
		if number >= 0 {
			m.ForgetLooks(number)
		} else if room, ok := m.AddDatabase(); ok {
			number = room
			list := append(slices.Clone(known), served{id, bytes.Clone(prefix)})
			n.databases.list.Store(&list)
		} else {
			err = ErrTooManyDatabases
			return
		}
		m.Serve(id)
		word = coherence.DeadlineWord(number)
	})
	return word, err
}

// Unserve serves no key of the database that people know as id any more, until [Node.Database] tells of it
// again. What others announce over it puts nothing in doubt here after a lease: nobody here could ask
// whether it is over.
func (n *Node) Unserve(id string) {
	n.input(func(m *coherence.Machine, _ coherence.Time) {
		for number, database := range n.databases.all() {
			if database.id == id {
				m.ForgetLooks(number)
			}
		}
		m.Unserve(id)
	})
}

func (d *databases) all() []served {
	if list := d.list.Load(); list != nil {
		return *list
	}
	return nil
}

// of returns the number of a key's database; it is false where that is not served.
func (d *databases) of(key []byte) (number int, ok bool) {
	rest := key[min(1, len(key)):]
	for number, database := range d.all() {
		if bytes.HasPrefix(rest, database.prefix) {
			return number, true
		}
	}
	return 0, false
}

// databasesAnswer tells whether the databases of all these keys answer this process.
func (n *Node) databasesAnswer(keys [][]byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := now()
	for _, key := range keys {
		if number, known := n.databases.of(key); !known || !n.machine.Reaches(at, number) {
			return false
		}
	}
	return true
}

// away returns the ids of the databases that do not answer. The caller holds mu.
func (n *Node) away(now coherence.Time) []string {
	ids := []string{} // a list for JSON also when there is none
	for number, database := range n.databases.all() {
		if !n.machine.Reaches(now, number) {
			ids = append(ids, database.id)
		}
	}
	return ids
}
