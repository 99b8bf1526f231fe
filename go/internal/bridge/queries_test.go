package bridge

import (
	"testing"
	"time"

	"guillotina_groupcache/internal/coherence"
)

func TestAnAnswerThatIsNoViewIsAFailure(t *testing.T) {
	for what, text := range map[string]string{
		"a failure":           `{"error": "the database is away", "rows": []}`,
		"malformed JSON":      `{`,
		"a failure with rows": `{"error": "the database is away", "rows": [{"incarnation": 7, "state": "in"}]}`,
	} {
		if ParseAnswer([]byte(text)).err() == nil {
			t.Errorf("%s is taken for a view", what)
		}
	}
}

// A row that no process can own costs only its own place in the view.
func TestRowsThatNoProcessCanOwnAreLeftOut(t *testing.T) {
	a := ParseAnswer([]byte(`{"rows": [{"incarnation": 0, "state": "in"}, {"incarnation": 7, "state": "elsewhere"},
		{"incarnation": 8, "state": "out", "overdue": true, "applied": [3]}]}`))
	rows := a.rows()
	if len(a.Rows) != 3 || len(rows) != 1 || rows[0].Incarnation != 8 || !rows[0].Overdue || len(rows[0].Applied) != 1 {
		t.Errorf("%d rows, of which %v are left", len(a.Rows), rows)
	}
}

// A full queue answers a query at once; an answer to a query that is not pending is ignored.
func TestEveryQueryHasOneAnswer(t *testing.T) {
	m, _ := aloneMachine()
	queue := newQueue(t)
	q := NewQueries(queue, coherence.Row{}, time.Second, nil)
	var answers []string
	then := func(_ *coherence.Machine, _ coherence.Time, a *Answer) { answers = append(answers, a.Error) }
	q.send(m, 1, Query{Op: "post"}, then)
	q.send(m, 1, Query{Op: "post"}, then)
	clear(q.Pending) // the machine restarts
	q.Answer(m, 2, 1, &Answer{Error: "late"})
	q.send(m, 1, Query{Op: "post"}, then)
	for range 2 {
		q.Answer(m, 2, 3, &Answer{Error: "in time"})
	}
	queue.Close()
	q.send(m, 1, Query{Op: "remove"}, nil)
	q.send(m, 1, Query{Op: "post"}, then)
	if len(answers) != 2 || answers[0] != "in time" || answers[1] != errQueueFull.Error() || len(q.Pending) != 0 {
		t.Errorf("the machine was given %q, and %d queries are pending", answers, len(q.Pending))
	}
}
