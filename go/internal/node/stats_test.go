package node

import (
	"encoding/json"
	"fmt"
	"testing"

	"guillotina_groupcache/internal/bridge"
)

func statsOf(t *testing.T, p *process) (s statistics) {
	t.Helper()
	text, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

func TestStatisticsSayWhatWasDone(t *testing.T) {
	db := newDatabase()
	a, b, _ := three(t, db)
	key := keyOf(b, 0)
	a.get(key)
	a.get(key)
	a.write(key, "v", true)
	s := statsOf(t, a)
	if !s.Serving || s.Incarnation != fmt.Sprintf("%016x", a.incarnationID()) || s.Address != a.mesh.Address {
		t.Errorf("who: %+v", s)
	}
	if s.Gets != 2 || s.Hits["hot"] != 1 || s.Hits["database"] != 1 || s.PeerLoads != 1 || s.Pushed != 1 {
		t.Errorf("reads: %+v", s)
	}
	if s.Events.Announced != 1 || s.Events.Cleared != 1 || s.Events.Settled != 1 || s.Events.Open != 0 || s.Doubt != 0 {
		t.Errorf("events: %+v", s.Events)
	}
	if len(s.Members) != 2 || !s.Members[0].Connected || s.Members[0].State != "in" {
		t.Errorf("members: %+v", s.Members)
	}
	if owner := statsOf(t, b); owner.Served != 1 || owner.LocalLoads != 1 || owner.Events.Acknowledged != 1 {
		t.Errorf("the owner: %+v", owner)
	}
}

// peerStatsOf returns what the peers of a process answer.
func peerStatsOf[answer any](t *testing.T, p *process) (all []answer) {
	t.Helper()
	id := p.numbers.Add(1)
	waiter := p.expect(false, id)
	p.PeerStats(id)
	var texts []string
	if err := json.Unmarshal(p.await("the peers answer", waiter), &texts); err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		var one answer
		if err := json.Unmarshal([]byte(text), &one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

func TestStatisticsOfAll(t *testing.T) {
	a, b, c := three(t, newDatabase())
	all := peerStatsOf[statistics](t, a)
	seen := make(map[string]bool)
	for _, s := range all {
		seen[s.Address] = true
	}
	if len(all) != 2 || !seen[b.mesh.Address] || !seen[c.mesh.Address] {
		t.Errorf("got %v", seen)
	}
}

func TestStatisticsOfAProcessAlone(t *testing.T) {
	p := open(t, newDatabase(), settings{"alone": true})
	if s := statsOf(t, p); !s.Serving || len(s.Members) != 0 || s.Network != nil {
		t.Errorf("got %+v", s)
	}
	id := p.numbers.Add(1)
	answer := p.expect(false, id)
	p.PeerStats(id)
	if text := p.await("there are no peers", answer); string(text) != "[]" {
		t.Errorf("got %q", text)
	}
}

func TestStatisticsOfAPeerThatSendsNonsense(t *testing.T) {
	p, s := listed(t, newDatabase())
	for _, text := range []string{"{", "[]", "7", "{}", `{"incarnation": "0000000000000007"}`} { // or for another one
		s.mu.Lock()
		s.answer = func() ([]byte, error) { return []byte(text), nil }
		s.mu.Unlock()
		if all := peerStatsOf[map[string]string](t, p); len(all) != 1 || all[0]["error"] == "" {
			t.Errorf("%s: got %v", text, all)
		}
	}
}

func TestAFullQueueDefersStatistics(t *testing.T) {
	p := open(t, newDatabase(), settings{"alone": true})
	resume := p.pausePython()
	defer resume()
	fill(p)
	answer := p.expect(false, 5)
	p.Queue.Deliver(bridge.PeerStats, 5, []byte("[]"))
	resume()
	p.await("the deferred completion comes", answer)
}
