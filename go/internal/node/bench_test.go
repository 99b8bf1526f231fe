package node

import (
	"strings"
	"testing"
)

func BenchmarkLookup(b *testing.B) {
	db := newDatabase()
	p := open(b, db, settings{"alone": true, "ttl": 3600})
	key := []byte("database/object/0123456789abcdef0123456789abcdef")
	db.values[string(key)] = strings.Repeat("v", 1024)
	p.read(string(key))
	buf := make([]byte, 64<<10)
	for b.Loop() {
		if n, _ := p.Lookup(key, buf); n != 1024 {
			b.Fatal(n)
		}
	}
}

// BenchmarkPeerRead reads what another process has in memory, from Read to bridge.
func BenchmarkPeerRead(b *testing.B) {
	db := newDatabase()
	owner := open(b, db, settings{"listen": unixAddress(b)})
	reader := open(b, db, settings{"listen": unixAddress(b), "size": 1 << 16}) // too small for hot copies
	together(b, owner, reader)
	key := keyOf(owner, 0)
	db.with(func() { db.values[key] = strings.Repeat("v", 1024) })
	owner.read(key)
	for b.Loop() {
		reader.read(key)
	}
	if n := db.loadsOf(key); n != 1 {
		b.Errorf("%d loads", n)
	}
}

// BenchmarkAnnounce takes an event through announcement, acknowledgement by two others, and
// settlement.
func BenchmarkAnnounce(b *testing.B) {
	a, _, _ := three(b, newDatabase())
	for b.Loop() {
		if err := a.Settle(a.announce("k"), nil); err != nil {
			b.Fatal(err)
		}
	}
}
