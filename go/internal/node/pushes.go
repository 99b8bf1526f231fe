package node

import (
	"encoding/binary"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
)

// put is a value that an event has written, on its way to its owner: the event's number, the
// value's life when it was sent, name and value.
type put struct {
	event uint64
	life  uint64
	name  cache.VersionedKey
	value []byte
}

// Put gives a value to its owner. What cannot be sent now is not worth waiting for: the
// owner loads it when it is asked.
func (p *peers) Put(address string, event uint64, name cache.VersionedKey, value []byte, expires int64) {
	life := lifeOf(expires, now())
	if session := (*Node)(p).sessionTo(address); session != nil && life > 0 && len(name.Key) <= maxKey {
		_ = session.Send(framePut, packPut(put{event: event, life: life, name: name}), value)
	}
}

// packPut packs a put but for its value, which follows as it is.
func packPut(p put) []byte {
	b := binary.LittleEndian.AppendUint64(nil, p.event)
	b = binary.LittleEndian.AppendUint64(b, p.life)
	return append(b, packNames([]cache.VersionedKey{p.name})...)
}

func unpackPut(b []byte) (p put, err error) {
	if len(b) < 3*8 {
		return put{}, errPacked
	}
	p.event, p.life = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	if _, ok := expiryOf(p.life, 0); !ok {
		return put{}, errPacked
	}
	b = b[2*8:]
	if _, p.value, err = takeBytes(b[8:]); err != nil {
		return put{}, err
	}
	names, err := unpackNames(b[:len(b)-len(p.value)])
	if err != nil {
		return put{}, err
	}
	p.name = names[0]
	return p, nil
}

// keep stores what a peer has written, as its owner. Nobody here has asked for it, so how long it
// was on its way is not known, and a process that was stopped may find it in its socket hours
// later. But before the database held it this process had been told of the event (R3): its life
// is counted from there. A value of an event that is not remembered is loaded when it is asked for.
func (n *Node) keep(writer coherence.Incarnation, p put) {
	n.mu.Lock()
	var from coherence.Time
	told := false
	if l := n.links[writer]; l != nil {
		from, told = l.told.of(p.event)
	}
	n.mu.Unlock()
	if !told {
		return
	}
	if expires, ok := expiryOf(p.life, from); ok {
		n.group.AsOwner.Keep(p.name, p.value, int64(from), expires)
	}
}

// heard remembers when this process was told of a writer's events. The caller holds mu.
func (n *Node) heard(writer coherence.Incarnation, message *coherence.Message, at coherence.Time) {
	l := n.links[writer]
	if l == nil || message.Kind != coherence.Events {
		return
	}
	for _, entry := range message.Entries {
		if id := entry.Event.ID; !entry.Settled && id.Writer == writer {
			l.told.add(id.Sequence, at)
		}
	}
}

// maxAnnouncements bounds the events of one writer that are remembered. A push comes right after
// its settlement, so they are those whose COMMIT is under way.
const maxAnnouncements = 1024

// announcements is when each of the last events of one writer was announced here first.
type announcements struct {
	at    map[uint64]coherence.Time
	order []uint64 // a ring, as it is full
	next  int
}

func (a *announcements) add(event uint64, at coherence.Time) {
	if _, known := a.at[event]; known {
		return // it is sent again after a broken connection
	}
	if a.at == nil {
		a.at = make(map[uint64]coherence.Time)
	}
	if len(a.order) < maxAnnouncements {
		a.order = append(a.order, event)
	} else {
		delete(a.at, a.order[a.next])
		a.order[a.next] = event
		a.next = (a.next + 1) % maxAnnouncements
	}
	a.at[event] = at
}

func (a *announcements) of(event uint64) (at coherence.Time, known bool) {
	at, known = a.at[event]
	return at, known
}
