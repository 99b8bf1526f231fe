package node

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/store"
	"guillotina_groupcache/internal/transport"
)

// counts are totals since the start.
type counts struct {
	gets, bypasses, served, pushed atomic.Uint64
	sources                        [cache.Sources]atomic.Uint64
}

func (c *counts) from(s cache.Source) {
	if int(s) < len(c.sources) {
		c.sources[s].Add(1)
	}
}

// servingState is whether the process serves, and since when. The driver's lock guards it.
type servingState struct {
	serves bool
	since  time.Time
}

// watch logs once when the process begins to serve or to bypass.
func (s *servingState) watch(m *coherence.Machine, now coherence.Time, log func(level, text string)) {
	serves := m.Serves(now)
	if serves == s.serves && !s.since.IsZero() {
		return
	}
	first := s.since.IsZero()
	s.serves, s.since = serves, time.Now()
	switch {
	case serves:
		log("info", "serving: reads are answered from the cache")
	case !first:
		log("warning", "bypassing: reads go to the database: "+m.Why(now))
	}
}

// statistics is what a process reports of itself; docs/operating.rst explains it.
type statistics struct {
	Incarnation string   `json:"incarnation"`
	Address     string   `json:"address"`
	Uptime      float64  `json:"uptime"` // seconds
	Serving     bool     `json:"serving"`
	Since       float64  `json:"since"`                 // seconds that it has been so
	Reason      string   `json:"reason"`                // why it is bypassing, and because of which process
	Unreachable []string `json:"unreachable_databases"` // ids of databases that do not answer
	Epoch       string   `json:"epoch"`
	Versions    string   `json:"versions"` // a digest of all versions: processes with the same one share values

	Gets         uint64            `json:"gets"`
	Hits         map[string]uint64 `json:"hits"` // by source
	LocalLoads   uint64            `json:"local_loads"`
	LoadErrors   uint64            `json:"load_errors"`
	Deduplicated uint64            `json:"deduplicated_loads"`
	PeerLoads    uint64            `json:"peer_loads"`
	PeerErrors   uint64            `json:"peer_errors"`
	Served       uint64            `json:"served_to_peers"`
	Bypasses     uint64            `json:"bypasses"`
	Pushed       uint64            `json:"pushed"`

	Main store.Stats    `json:"main"`
	Hot  store.Stats    `json:"hot"`
	Near nearStatistics `json:"near"`

	Events  eventStatistics          `json:"events"`
	Outside bridge.OutsideStatistics `json:"outside_writes"`
	Doubt   int                      `json:"buckets_in_doubt"`
	Longest float64                  `json:"longest_doubt"` // seconds that the oldest open event has been open
	Members []memberStatistics       `json:"members"`
	Network *transport.Stats         `json:"network,omitempty"`
}

// nearStatistics is about Python's near cache.
type nearStatistics struct {
	Hits  uint64 `json:"hits"`
	Items uint64 `json:"items"`
	Bytes uint64 `json:"bytes"`
}

type eventStatistics struct {
	coherence.Counts
	Open int `json:"open"`
}

type memberStatistics struct {
	Incarnation string `json:"incarnation"`
	Address     string `json:"address"`
	Host        string `json:"host"`
	State       string `json:"state"`
	Reason      string `json:"reason"`  // which process has marked it out, and why
	Overdue     bool   `json:"overdue"` // its heartbeat in the members table is overdue
	Connected   bool   `json:"connected"`
}

// Stats returns this process's statistics in JSON.
func (n *Node) Stats() ([]byte, error) {
	s := n.cacheStatistics()
	if n.mesh.Transport != nil {
		network := n.mesh.Transport.Stats()
		s.Network = &network
	}
	n.driver.Lock()
	defer n.driver.Unlock()
	n.addCoherence(&s)
	return json.Marshal(s)
}

// cacheStatistics returns the part that needs no lock.
func (n *Node) cacheStatistics() statistics {
	near := n.Memory.nearStatistics()
	s := statistics{
		Incarnation: hex(uint64(n.mesh.Incarnation)),
		Address:     n.mesh.Address,
		Uptime:      time.Since(n.started).Seconds(),
		Gets:        n.counts.gets.Load() + near.Hits,
		Hits:        map[string]uint64{"near": near.Hits},
		PeerLoads:   n.group.PeerLoads.Load(),
		PeerErrors:  n.group.PeerErrors.Load(),
		Served:      n.counts.served.Load(),
		Bypasses:    n.counts.bypasses.Load(),
		Pushed:      n.counts.pushed.Load(),
		Near:        near,
	}
	for source := cache.Own; source < cache.Sources; source++ {
		s.Hits[source.String()] = n.counts.sources[source].Load()
	}
	s.Main, s.Hot = n.group.Stats()
	s.LocalLoads, s.Deduplicated, s.LoadErrors = n.group.Loads()
	return s
}

// addCoherence adds what the machine, the notes and the mesh report. The caller holds the lock.
func (n *Node) addCoherence(s *statistics) {
	m, at := n.driver.machine, now()
	s.Serving, s.Reason = m.Serves(at), m.Why(at)
	s.Unreachable = n.Databases.unreachable(at)
	if !n.serving.since.IsZero() {
		s.Since = time.Since(n.serving.since).Seconds()
	}
	epoch, versions := m.Versions()
	s.Epoch, s.Versions = hex(epoch), hex(versions)
	open, doubt, longest := m.Doubt(at)
	s.Events = eventStatistics{m.Counts(), open}
	s.Outside = n.queries.Outside.Statistics()
	s.Doubt, s.Longest = doubt, longest.Seconds()
	s.Members = []memberStatistics{} // a list in JSON also when there are none
	for _, row := range m.Rows() {
		peer := n.mesh.Peers[row.Incarnation]
		s.Members = append(s.Members, memberStatistics{hex(uint64(row.Incarnation)), row.Address, row.Host,
			row.State.String(), row.Reason, row.Overdue, peer != nil && peer.Current != nil})
	}
}

func hex(bits uint64) string { return fmt.Sprintf("%016x", bits) }
