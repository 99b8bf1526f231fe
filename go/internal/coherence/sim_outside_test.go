package coherence

import (
	"slices"
	"time"
)

// Writes to the database of a simulated cluster that no process announces (R14), and their notes.

// outsideNote is a note in the database.
type outsideNote struct {
	OutsideWrite
	database   int
	made, gone time.Duration // gone is 0 while the note is there
}

// simCollapse is how old a note has to be before it is replaced, with others, by one over everything.
const simCollapse = simLease * 10 / 3

func (s *sim) nextOutside() {
	if !s.loads || s.outsideEvery == 0 {
		return
	}
	s.writeOutside()
	s.after(s.between(5*time.Millisecond, s.outsideEvery), nil, s.nextOutside)
}

// writeOutside is a transaction that announces nothing, at the instant of its commit.
func (s *sim) writeOutside() {
	database := s.below(s.databases)
	if s.serverOf(database).down > s.now {
		return
	}
	keys := s.freeKeys(database)
	if len(keys) == 0 {
		return
	}
	s.Outside++
	note := OutsideWrite{All: s.chance(s.every)}
	for _, key := range keys {
		if b := s.bucket(key); !note.All && !slices.Contains(note.Buckets, b) {
			note.Buckets = append(note.Buckets, b)
		}
	}
	slices.Sort(note.Buckets)
	s.collapse(database)
	s.insertNote(database, note)
	if s.off == offTogether {
		s.after(s.between(0, simLease/2), nil, func() { s.commitOutside(keys) })
		return
	}
	s.commitOutside(keys)
}

func (s *sim) commitOutside(keys []int) {
	for _, key := range keys {
		s.value++
		s.history[key] = append(s.history[key], committed{at: s.now, value: s.value, outside: true})
		s.record("written from outside: key %d is %d", key, s.value)
	}
	s.readEverywhere(keys)
}

// insertNote gives a note a new id, and the nonce that goes with it.
func (s *sim) insertNote(database int, note OutsideWrite) {
	note.ID = OutsideID(s.random.Uint64()>>5 | 1)
	note.Nonce = uint64(note.ID) * 0x9E3779B97F4A7C15 &^ 1
	s.notes = append(s.notes, &outsideNote{OutsideWrite: note, database: database, made: s.now})
	if s.story != nil {
		s.record("note %d in database %d: all %v, buckets %v", note.ID, database, note.All, note.Buckets)
	}
}

// collapse replaces the old notes of a database, when there are many, by one over everything.
func (s *sim) collapse(database int) {
	if len(s.notesOf(database)) < s.mostNotes {
		return
	}
	replaced := false
	for _, n := range s.notes {
		if n.database == database && n.gone == 0 && s.now > n.made+simCollapse {
			n.gone, replaced = s.now, true
			s.record("note %d is replaced", n.ID)
		}
	}
	if replaced && s.off != offReplaced {
		s.Collapsed++
		s.insertNote(database, OutsideWrite{All: true})
	}
}

// notesOf returns what a look at a database shows.
func (s *sim) notesOf(database int) []*OutsideWrite {
	writes := []*OutsideWrite{}
	for _, n := range s.notes {
		if n.database == database && n.gone == 0 {
			writes = append(writes, &n.OutsideWrite)
		}
	}
	return writes
}

// loseNotes makes a server's notes what they were at some time.
func (s *sim) loseNotes(at *server, known time.Duration) {
	s.notes = slices.DeleteFunc(s.notes, func(n *outsideNote) bool {
		if s.serverOf(n.database) != at {
			return false
		}
		if n.gone > known {
			n.gone = 0
		}
		return n.made > known
	})
}

// acknowledgeOutside has a row say which notes are applied.
func (s *sim) acknowledgeOutside(p *process, a Action) {
	if r := s.row(p.id); r != nil && (r.State == In || s.off == offJoiner) {
		s.changing(*r)
		r.Applied = slices.Clone(a.Outside)
	}
}

// forgetOutside has notes deleted.
func (s *sim) forgetOutside(p *process, a Action) {
	forget := func() {
		for _, n := range s.notes {
			if n.database == a.Number && n.gone == 0 && slices.Contains(a.Outside, n.ID) {
				n.gone = s.now
				s.Forgotten++
				s.record("%v has note %d deleted", p, n.ID)
			}
		}
	}
	if at := s.serverOf(a.Number); at == &s.second {
		s.queryServer(p, at, forget, func(error) {})
	} else {
		s.query(p, nil, forget)
	}
}

// superseded reports whether a value was superseded before a read began, by what was committed after it: a
// write that was announced supersedes at once, one from outside after a lease.
func superseded(later []committed, begun time.Duration) bool {
	return slices.ContainsFunc(later, func(c committed) bool {
		if c.outside {
			return c.at+simLease*100/98 < begun // by a clock that is slow
		}
		return c.at < begun
	})
}
