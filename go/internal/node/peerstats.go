package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/mesh"
	"guillotina_groupcache/internal/transport"
)

// The statistics of a peer are shown to people and read by programs. Whatever a peer has sent, the
// result has the form of statistics, speaks only about that peer, and is bounded.
const (
	// maxStatsText is the length of a text in statistics, in characters; no address is longer.
	maxStatsText = 512
	// maxStatsList is the length of a list in statistics; no cluster has more members.
	maxStatsList = 4096
	// maxStatsSeconds is the longest time in statistics.
	maxStatsSeconds = 1e9
)

// PeerStats requests the statistics of every connected member. A completion of kind
// [bridge.PeerStats] with the id request has a JSON list of the answers. Each is JSON in a string, so
// that one that cannot be read, because it is nested too deeply, does not cost the others.
func (n *Node) PeerStats(request uint64) {
	members, sessions := n.connectedMembers()
	n.wg.Go(func() {
		answers := make([]string, len(sessions))
		var wg sync.WaitGroup
		for i, session := range sessions {
			wg.Go(func() { answers[i] = string(requestStats(n.life, members[i], session)) })
		}
		wg.Wait()
		text, err := json.Marshal(answers)
		if err != nil {
			panic(err) // strings always have a JSON form
		}
		n.Queue.Deliver(bridge.PeerStats, request, text)
	})
}

// connectedMembers returns the rows of the connected members, and a session to each.
func (n *Node) connectedMembers() (members []coherence.Row, sessions []*transport.Session) {
	n.driver.Lock()
	defer n.driver.Unlock()
	for _, row := range n.driver.machine.Rows() {
		if peer := n.mesh.Peers[row.Incarnation]; peer != nil && peer.Current != nil && n.driver.machine.Listed(row.Incarnation) {
			members, sessions = append(members, row), append(sessions, peer.Current)
		}
	}
	return members, sessions
}

// requestStats requests the statistics of one member. A failure becomes the answer.
func requestStats(ctx context.Context, member coherence.Row, session *transport.Session) []byte {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	text, err := session.Call(ctx, mesh.FrameStats)
	if err == nil {
		text, err = checkedStats(text, member)
	}
	if err != nil {
		text, err = json.Marshal(map[string]string{"address": member.Address, "error": err.Error()})
	}
	if err != nil {
		panic(err) // strings always have a JSON form
	}
	return text
}

// checkedStats returns a member's statistics in the form in which this process gives its own, so that
// readers need not expect anything else.
func checkedStats(text []byte, member coherence.Row) ([]byte, error) {
	if len(text) > maxStats {
		return nil, fmt.Errorf("its statistics have %d bytes, at most %d are allowed", len(text), maxStats)
	}
	var s statistics
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("its statistics make no sense: %s", shown(err.Error()))
	}
	if s.Incarnation != hex(uint64(member.Incarnation)) {
		return nil, errors.New("its statistics are those of another process")
	}
	if s.Hits == nil || s.Unreachable == nil || s.Members == nil || s.Outside.ByApplication == nil {
		return nil, errors.New("its statistics are not complete")
	}
	if len(s.Hits) > maxStatsList || len(s.Unreachable) > coherence.MaxDatabases || len(s.Members) > maxStatsList ||
		len(s.Outside.ByApplication) > bridge.MaxApplications {
		return nil, errors.New("its statistics have lists that are too long")
	}
	s.clean()
	s.Address = member.Address // the members table decides where it is
	return json.Marshal(s)
}

// clean makes every text a short part of one line, and every time a possible one.
func (s *statistics) clean() {
	for _, text := range []*string{&s.Reason, &s.Epoch, &s.Versions} {
		*text = shown(*text)
	}
	for i, id := range s.Unreachable {
		s.Unreachable[i] = shown(id)
	}
	s.Hits = shownKeys(s.Hits)
	if s.Network != nil {
		s.Network.Faults = shownKeys(s.Network.Faults)
	}
	for i := range s.Members {
		m := &s.Members[i]
		for _, text := range []*string{&m.Incarnation, &m.Address, &m.Host, &m.State, &m.Reason} {
			*text = shown(*text)
		}
	}
	times := []*float64{&s.Uptime, &s.Since, &s.Longest}
	for i := range s.Outside.ByApplication {
		a := &s.Outside.ByApplication[i]
		a.Application = shown(a.Application)
		times = append(times, &a.Last)
	}
	for _, seconds := range times {
		*seconds = min(max(*seconds, 0), maxStatsSeconds)
	}
}

func shown(text string) string { return transport.Printable(bridge.Cut(text, maxStatsText)) }

func shownKeys[K ~string](counts map[K]uint64) map[K]uint64 {
	clean := make(map[K]uint64, min(len(counts), maxStatsList))
	for key, count := range counts {
		if len(clean) < maxStatsList {
			clean[K(shown(string(key)))] = count
		}
	}
	return clean
}
