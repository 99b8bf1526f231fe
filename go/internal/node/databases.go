package node

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// Databases are those whose keys this process serves. Reads look into list and table without a lock.
type Databases struct {
	driver *driver
	table  *coherence.Table
	list   atomic.Pointer[[]served]
}

// served is a database. It is known by the part of its keys between the first byte and an object's id,
// so that the grammar of keys stays Python's. Its number is its place in the list.
type served struct {
	id     string
	prefix []byte
}

// ErrTooManyDatabases is the error when [coherence.MaxDatabases] are served already.
var ErrTooManyDatabases = errors.New("node: no room for one more database")

// Serve serves the keys that have prefix behind their first byte, of the database that users know as
// id. It returns the word of the version table that holds their deadline. A prefix that is known
// already keeps the same word, but nothing is served until the database has been looked at again.
func (d *Databases) Serve(id string, prefix []byte) (word int, err error) {
	if len(id) > coherence.MaxDatabaseID {
		return 0, fmt.Errorf("node: the id of a database has %d bytes, at most %d are allowed", len(id), coherence.MaxDatabaseID)
	}
	d.driver.Input(func(m *coherence.Machine, _ coherence.Time) {
		known := d.all()
		number := slices.IndexFunc(known, func(d served) bool { return bytes.Equal(d.prefix, prefix) })
		if number >= 0 {
			m.ForgetLooks(number)
		} else if room, ok := m.AddDatabase(); ok {
			number = room
			list := append(slices.Clone(known), served{id, bytes.Clone(prefix)})
			d.list.Store(&list)
		} else {
			err = ErrTooManyDatabases
			return
		}
		m.Serve(id)
		word = coherence.DeadlineWord(number)
	})
	return word, err
}

// Unserve stops serving the keys of a database, until the next call of Serve. A lease later, events of
// other processes over it no longer put anything in doubt here: this process could not ask that
// database whether they are over.
func (d *Databases) Unserve(id string) {
	d.driver.Input(func(m *coherence.Machine, _ coherence.Time) {
		for number, known := range d.all() {
			if known.id == id {
				m.ForgetLooks(number)
			}
		}
		m.Unserve(id)
	})
}

func (d *Databases) all() []served {
	if list := d.list.Load(); list != nil {
		return *list
	}
	return nil
}

// of returns the number of a key's database; it is false where that is not served.
func (d *Databases) of(key []byte) (number int, ok bool) {
	rest := key[min(1, len(key)):]
	for number, known := range d.all() {
		if bytes.HasPrefix(rest, known.prefix) {
			return number, true
		}
	}
	return 0, false
}

// reachable reports whether the databases of all keys answer this process. It takes the lock.
func (d *Databases) reachable(keys [][]byte) bool {
	d.driver.Lock()
	defer d.driver.Unlock()
	at := now()
	for _, key := range keys {
		if number, known := d.of(key); !known || !d.driver.machine.Reaches(at, number) {
			return false
		}
	}
	return true
}

// unreachable returns the ids of the databases that do not answer. The caller holds the lock.
func (d *Databases) unreachable(now coherence.Time) []string {
	ids := []string{} // a list in JSON also when there are none
	for number, known := range d.all() {
		if !d.driver.machine.Reaches(now, number) {
			ids = append(ids, known.id)
		}
	}
	return ids
}

// Version returns a key with its current version; it is false while the key must be read from the
// database. While the same version is returned, no event of any member over the key's bucket has come
// between (R3): each would have put the bucket in doubt here before its COMMIT, and settled under
// another version. The order of the loads is R2's.
func (d *Databases) Version(key []byte) (cache.VersionedKey, bool) {
	number, known := d.of(key)
	if !known {
		return cache.VersionedKey{}, false
	}
	deadline := d.table.DatabaseDeadline(number)
	version, settled := d.table.Version(d.bucket(key))
	if !settled || now() >= deadline {
		return cache.VersionedKey{}, false
	}
	return cache.VersionedKey{Key: key, Version: version}, true
}

func (d *Databases) bucket(key []byte) uint32 { return d.table.Bucket(cache.Hash(key)) }
