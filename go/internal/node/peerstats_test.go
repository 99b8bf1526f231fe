package node

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// The statistics of a member are about itself, in one line, with possible times, whatever it sends.
func TestTheStatisticsOfAMemberAreAboutItself(t *testing.T) {
	p, s := listed(t, newDatabase())
	text, err := p.Stats()
	must(t, err)
	var sent map[string]any
	must(t, json.Unmarshal(text, &sent))
	sent["incarnation"], sent["address"] = hex(s.who), p.mesh.Address
	sent["uptime"], sent["longest_doubt"] = -1, 1e300
	sent["reason"], sent["unreachable_databases"] = "x\n\x1b[2J", []string{strings.Repeat("d", 1000) + "\u202e"}
	sent["hits"] = map[string]int{"own\n": 1}
	text, err = json.Marshal(sent)
	must(t, err)
	s.mu.Lock()
	s.answer = func() ([]byte, error) { return text, nil }
	s.mu.Unlock()
	answers := p.peerStatistics()
	if len(answers) != 1 || answers[0]["incarnation"] != hex(s.who) || answers[0]["address"] != s.Address() {
		t.Fatalf("it speaks as another one: %.300v", answers)
	}
	a := answers[0]
	if a["uptime"] != 0.0 || a["longest_doubt"] != maxStatsSeconds {
		t.Errorf("times of %v and %v seconds", a["uptime"], a["longest_doubt"])
	}
	if reason, unreachable := a["reason"], a["unreachable_databases"].([]any)[0].(string); reason != "x??[2J" || len(unreachable) != maxStatsText {
		t.Errorf("the reason is %q, and the id of a database has %d bytes", reason, len(unreachable))
	}
	if _, changed := a["hits"].(map[string]any)["own?"]; !changed {
		t.Errorf("hits: %q", a["hits"])
	}
}

// A failure is shown with the address of the members table, and in one line.
func TestAFailureOfAMembersStatisticsIsOneLine(t *testing.T) {
	p, s := listed(t, newDatabase())
	s.mu.Lock()
	s.answer = func() ([]byte, error) { return nil, errors.New("no\nwarning: all is lost\x07") }
	s.mu.Unlock()
	if answers := p.peerStatistics(); len(answers) != 1 || answers[0]["address"] != s.Address() ||
		answers[0]["error"] != "peer: no?warning: all is lost?" {
		t.Errorf("%q", answers)
	}
}

// peerStatistics asks the members for their statistics.
func (p *process) peerStatistics() (answers []map[string]any) {
	p.t.Helper()
	id := p.numbers.Add(1)
	c := p.expect(false, id)
	p.PeerStats(id)
	var texts []string // each is JSON
	must(p.t, json.Unmarshal(p.await("the peers' statistics", c), &texts))
	for _, text := range texts {
		var answer map[string]any
		must(p.t, json.Unmarshal([]byte(text), &answer))
		answers = append(answers, answer)
	}
	return answers
}
