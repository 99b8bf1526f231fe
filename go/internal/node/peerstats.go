package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// What a peer tells of itself is shown to people and read by programs: whatever it has sent, it gets
// the form of statistics, says nothing in another one's name, and is bounded.
const (
	// maxStatsText is the length of a text in statistics, in characters: an address has at most so many.
	maxStatsText = 512
	// maxStatsList is how long a list of them may be; a cluster has fewer members.
	maxStatsList = 4096
	// maxStatsSeconds is the longest time in them.
	maxStatsSeconds = 1e9
)

// PeerStats asks every member that can be reached for its statistics, and puts a JSON list of
// their answers into the queue under the id request. Each is JSON in a string: one that cannot be
// read, as it is nested too deeply, must not cost the others.
func (n *Node) PeerStats(request uint64) {
	members, sessions := n.connectedMembers()
	n.wg.Go(func() {
		answers := make([]string, len(sessions))
		var wg sync.WaitGroup
		for i, session := range sessions {
			wg.Go(func() { answers[i] = string(n.statsOf(members[i], session)) })
		}
		wg.Wait()
		text, err := json.Marshal(answers)
		if err != nil {
			panic(err) // strings always have a JSON form
		}
		n.tell(bridge.PeerStats, request, text)
	})
}

// connectedMembers returns the rows of the members that can be reached, and a session to each.
func (n *Node) connectedMembers() (members []coherence.Row, sessions []*transport.Session) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, row := range n.machine.Rows() {
		if l := n.links[row.Incarnation]; l != nil && l.current != nil && n.machine.Listed(row.Incarnation) {
			members, sessions = append(members, row), append(sessions, l.current)
		}
	}
	return members, sessions
}

func (n *Node) statsOf(member coherence.Row, session *transport.Session) []byte {
	ctx, cancel := context.WithTimeout(n.life, peerTimeout)
	defer cancel()
	text, err := session.Call(ctx, frameStats)
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

// checkedStats returns a member's statistics in the form that this process gives its own: what reads
// them need not be ready for anything else, and not for more than maxStats.
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
	if s.Hits == nil || s.Away == nil || s.Members == nil || s.Outside.ByApplication == nil {
		return nil, errors.New("its statistics are not complete")
	}
	if len(s.Hits) > maxStatsList || len(s.Away) > coherence.MaxDatabases || len(s.Members) > maxStatsList ||
		len(s.Outside.ByApplication) > maxApplications {
		return nil, errors.New("its statistics have lists that are too long")
	}
	s.clean()
	s.Address = member.Address // the members table says where it is
	return json.Marshal(s)
}

// clean leaves texts that are a part of one line, and times that there are.
func (s *statistics) clean() {
	for _, text := range []*string{&s.Because, &s.Epoch, &s.Versions} {
		*text = shown(*text)
	}
	for i, id := range s.Away {
		s.Away[i] = shown(id)
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

func shown(text string) string { return transport.Printable(cut(text, maxStatsText)) }

func shownKeys[K ~string](counts map[K]uint64) map[K]uint64 {
	clean := make(map[K]uint64, min(len(counts), maxStatsList))
	for key, count := range counts {
		if len(clean) < maxStatsList {
			clean[K(shown(string(key)))] = count
		}
	}
	return clean
}
