package node

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/store"
	"guillotina_groupcache/internal/transport"
)

// counts are totals since the start.
type counts struct {
	gets, bypasses, served, pushed atomic.Uint64
	sources                        [cache.Deduplicated + 1]atomic.Uint64
}

func (c *counts) from(s cache.Source) {
	if int(s) < len(c.sources) {
		c.sources[s].Add(1)
	}
}

// standing watches whether the process may serve, and logs a change once. mu guards it.
type standing struct {
	serves bool
	since  time.Time
}

func (s *standing) watch(n *Node, m *coherence.Machine, now coherence.Time) {
	serves := m.Serves(now)
	if serves == s.serves && !s.since.IsZero() {
		return
	}
	first := s.since.IsZero()
	s.serves, s.since = serves, time.Now()
	switch {
	case serves:
		n.log("info", "serving: reads are answered from the cache")
	case !first:
		n.log("warning", "bypassing: reads go to the database: "+m.Why(now))
	}
}

// statistics is what a process tells of itself; README and docs/operating.rst explain it.
type statistics struct {
	Incarnation string   `json:"incarnation"`
	Address     string   `json:"address"`
	Uptime      float64  `json:"uptime"` // seconds
	InStanding  bool     `json:"serving"`
	Since       float64  `json:"since"`                 // seconds that it has been so
	Because     string   `json:"reason"`                // why it is not in standing, and because of whom
	Away        []string `json:"unreachable_databases"` // ids of databases that do not answer
	Epoch       string   `json:"epoch"`
	Versions    string   `json:"versions"` // a digest of all versions: who shows the same shares names

	Gets       uint64            `json:"gets"`
	Hits       map[string]uint64 `json:"hits"` // by source
	LocalLoads uint64            `json:"local_loads"`
	LoadErrors uint64            `json:"load_errors"`
	Shared     uint64            `json:"deduplicated_loads"`
	PeerLoads  uint64            `json:"peer_loads"`
	PeerErrors uint64            `json:"peer_errors"`
	Served     uint64            `json:"served_to_peers"`
	Bypasses   uint64            `json:"bypasses"`
	Pushed     uint64            `json:"pushed"`

	Main storeStatistics `json:"main"`
	Hot  storeStatistics `json:"hot"`

	Decoded decodedStatistics `json:"near"`

	Events  eventStatistics    `json:"events"`
	Outside outsideStatistics  `json:"outside_writes"`
	Doubt   int                `json:"buckets_in_doubt"`
	Longest float64            `json:"longest_doubt"` // seconds that the oldest open event has been so
	Members []memberStatistics `json:"members"`
	Network *transport.Stats   `json:"network,omitempty"`
}

type storeStatistics struct {
	Bytes     int64 `json:"bytes"`
	Items     int64 `json:"items"`
	Evictions int64 `json:"evictions"`
	Expired   int64 `json:"expired"`
	Rejected  int64 `json:"rejected"`
}

// decodedStatistics is of what Python keeps decoded.
type decodedStatistics struct {
	Hits  uint64 `json:"hits"`
	Items uint64 `json:"items"`
	Bytes uint64 `json:"bytes"`
}

type eventStatistics struct {
	Announced    uint64 `json:"announced"`    // own ones
	Passed       uint64 `json:"cleared"`      // own ones that everyone acknowledged
	Acknowledged uint64 `json:"acknowledged"` // others' ones that this process acknowledged
	Settled      uint64 `json:"settled"`      // anyone's
	Orphans      uint64 `json:"orphans"`      // settled because the database said they are over
	Open         int    `json:"open"`
}

type memberStatistics struct {
	Incarnation string `json:"incarnation"`
	Address     string `json:"address"`
	Host        string `json:"host"`
	State       string `json:"state"`
	Reason      string `json:"reason"`  // why it is out, and by whom
	Silent      bool   `json:"overdue"` // no sign of life in the members table
	Connected   bool   `json:"connected"`
}

// Stats returns this process's statistics in JSON.
func (n *Node) Stats() ([]byte, error) {
	decoded := n.decodedStatistics()
	s := statistics{
		Incarnation: hex(uint64(n.incarnation)),
		Address:     n.address,
		Uptime:      time.Since(n.started).Seconds(),
		Gets:        n.counts.gets.Load() + decoded.Hits,
		Decoded:     decoded,
		Hits: map[string]uint64{
			"near":         decoded.Hits,
			"own":          n.counts.sources[cache.Own].Load(),
			"hot":          n.counts.sources[cache.Hot].Load(),
			"peer":         n.counts.sources[cache.Peer].Load(),
			"deduplicated": n.counts.sources[cache.Deduplicated].Load(),
			"database":     n.counts.sources[cache.Database].Load(),
		},
		PeerLoads:  n.group.PeerLoads.Load(),
		PeerErrors: n.group.PeerErrors.Load(),
		Served:     n.counts.served.Load(),
		Bypasses:   n.counts.bypasses.Load(),
		Pushed:     n.counts.pushed.Load(),
	}
	s.LocalLoads, s.Shared, s.LoadErrors = n.group.Loads()
	main, hot := n.group.Stats()
	s.Main, s.Hot = ofStore(main), ofStore(hot)
	if n.transport != nil {
		network := n.transport.Stats()
		s.Network = &network
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	at := now()
	s.InStanding, s.Because = n.machine.Serves(at), n.machine.Why(at)
	s.Away = n.away(at)
	if !n.standing.since.IsZero() {
		s.Since = time.Since(n.standing.since).Seconds()
	}
	epoch, versions := n.machine.Versions()
	s.Epoch, s.Versions = hex(epoch), hex(versions)
	open, doubt, longest := n.machine.Doubt(at)
	c := n.machine.Counts()
	s.Events = eventStatistics{c.Announced, c.Cleared, c.Acknowledged, c.Settled, c.Orphans, open}
	s.Outside = n.outsideWrites.statistics()
	s.Doubt, s.Longest = doubt, longest.Seconds()
	s.Members = []memberStatistics{} // a list for JSON also when there is nobody
	for _, row := range n.machine.Rows() {
		l := n.links[row.Incarnation]
		s.Members = append(s.Members, memberStatistics{hex(uint64(row.Incarnation)), row.Address, row.Host,
			row.State.String(), row.Reason, row.Overdue, l != nil && l.current != nil})
	}
	return json.Marshal(s)
}

func ofStore(s store.Stats) storeStatistics {
	return storeStatistics{s.Bytes, s.Items, s.Evictions, s.Expired, s.Rejected}
}

func hex(bits uint64) string { return fmt.Sprintf("%016x", bits) }
