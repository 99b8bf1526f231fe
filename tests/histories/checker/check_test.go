package main

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// written and found make operations of one object, from one instant to another.
func written(value string, begin, end int64) operation {
	return operation{Kind: "write", Key: "k", Value: &value, Begin: begin, End: end, Outcome: "ok"}
}

func found(value string, begin, end int64) operation {
	o := written(value, begin, end)
	o.Kind = "read"
	return o
}

func unanswered(o operation) operation {
	o.Outcome = "unknown"
	return o
}

var absence = operation{Kind: "read", Key: "k", Begin: 5, End: 6, Outcome: "ok"}

func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		name    string
		right   bool
		culprit int
		history []operation
	}{
		{"a sequence", true, 0, []operation{written("a", 1, 2), found("a", 3, 4), written("b", 5, 6), found("b", 7, 8)}},
		{"either of two that overlap", true, 0, []operation{
			written("a", 1, 2), written("b", 3, 6), found("a", 4, 5), found("b", 4, 7)}},
		{"the last of two that overlap", true, 0, []operation{written("a", 1, 5), written("b", 1, 5), found("a", 6, 7)}},
		{"a stale read", false, 2, []operation{written("a", 1, 2), written("b", 3, 4), found("a", 5, 6), found("b", 7, 8)}},
		{"a lost write", false, 3, []operation{
			written("a", 1, 2), found("a", 3, 4), written("b", 5, 6), found("a", 7, 8), found("a", 9, 10)}},
		{"a write that was seen, and then was not", false, 3, []operation{
			written("a", 1, 2), written("b", 3, 10), found("b", 4, 5), found("a", 6, 7)}},
		{"two readers who see two writes in two orders", false, 5, []operation{
			written("a", 1, 9), written("b", 1, 9), found("a", 2, 3), found("b", 4, 5), found("b", 6, 7),
			found("a", 7, 8)}},
		{"what no client has written", false, 1, []operation{written("a", 1, 2), found("x", 3, 4)}},
		{"a read before the write", false, 0, []operation{found("a", 1, 2), written("a", 3, 4)}},
		{"an object that is gone", false, 1, []operation{written("a", 1, 2), absence}},
		{"an object that is not there yet", true, 0, []operation{absence, written("a", 7, 8)}},
		{"no answer, and no effect", true, 0, []operation{
			written("a", 1, 2), unanswered(written("b", 3, 4)), found("a", 5, 6)}},
		{"no answer, and an effect much later", true, 0, []operation{
			written("a", 1, 2), unanswered(written("b", 3, 4)), found("a", 5, 6), found("b", 7, 8)}},
		{"no answer, an effect, and none any more", false, 3, []operation{
			written("a", 1, 2), unanswered(written("b", 3, 4)), found("b", 5, 6), found("a", 7, 8)}},
		{"no answer, and an effect before it was asked for", false, 1, []operation{
			written("a", 1, 2), found("b", 3, 4), unanswered(written("b", 5, 6))}},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := check(map[string][]operation{"k": test.history}, timeout)[0]
			if v.result != verdictOf(test.right) {
				t.Fatalf("the verdict is %v", v.result)
			}
			if !test.right && v.culprit != test.history[test.culprit] {
				t.Errorf("the first that cannot be explained is said to be %+v", v.culprit)
			}
		})
	}
}

func verdictOf(right bool) porcupine.CheckResult {
	if right {
		return porcupine.Ok
	}
	return porcupine.Illegal
}

// TestReducedAsWhole compares with Porcupine's verdict about the whole history, in which a write
// without an answer may take effect at any time until the end.
func TestReducedAsWhole(t *testing.T) {
	right, wrong := 0, 0
	for seed := range uint64(20_000) {
		history := randomHistory(rand.New(rand.NewPCG(seed, 0)))
		var whole []operation
		for _, o := range history {
			if o.Outcome == "unknown" {
				o.End = math.MaxInt64
			}
			whole = append(whole, o)
		}
		want := porcupine.CheckOperationsTimeout(register, forPorcupine(whole), timeout)
		if got := isLinearizable(history, timeout); got != want {
			t.Fatalf("seed %d: %v, and of the whole history %v: %+v", seed, got, want, history)
		}
		if want == porcupine.Ok {
			right++
		} else {
			wrong++
		}
	}
	if right < 1000 || wrong < 1000 {
		t.Errorf("%d right and %d wrong histories: too one-sided to prove anything", right, wrong)
	}
}

// randomHistory returns the history of a register that is sometimes wrong.
func randomHistory(random *rand.Rand) []operation {
	var history []operation
	values := []string{absent}
	effects := map[string]int64{absent: -1}
	wrong := random.IntN(3) == 0
	for i := range 3 + random.IntN(10) {
		begin := int64(random.IntN(40))
		end := begin + int64(random.IntN(15))
		if random.IntN(3) == 0 {
			o := written(fmt.Sprint(i), begin, end)
			effect := begin + random.Int64N(end-begin+1)
			if random.IntN(4) == 0 {
				o = unanswered(o)
				effect = begin + random.Int64N(40)
			}
			values = append(values, o.value())
			effects[o.value()] = effect
			history = append(history, o)
			continue
		}
		history = append(history, found("", begin, end))
	}
	for i := range history {
		o := &history[i]
		if o.Kind == "write" {
			continue
		}
		instant, value := o.Begin+random.Int64N(o.End-o.Begin+1), absent
		for _, v := range values {
			if effects[v] <= instant && effects[v] >= effects[value] {
				value = v
			}
		}
		if wrong && random.IntN(4) == 0 {
			value = values[random.IntN(len(values))]
		}
		if o.Value = &value; value == absent {
			o.Value = nil
		}
	}
	return history
}

// TestLong shows that a long history is decided quickly, also with many unanswered writes.
func TestLong(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	var history []operation
	const writes, clients = 5000, 15
	for i := range int64(writes) {
		at := i * 1000
		write := written(fmt.Sprint(i), at, at+900)
		if i%20 == 0 {
			write = unanswered(write)
		}
		history = append(history, write)
		for range clients {
			begin := at + 950 + random.Int64N(30)
			history = append(history, found(write.value(), begin, begin+random.Int64N(20)))
		}
	}
	if result := isLinearizable(history, timeout); result != porcupine.Ok {
		t.Errorf("the verdict is %v", result)
	}
	history = append(history, found("17", writes*1000, writes*1000+1))
	v := check(map[string][]operation{"k": history}, timeout)[0]
	if v.result != porcupine.Illegal || v.culprit != history[len(history)-1] {
		t.Errorf("a stale read at the end: %v, %+v", v.result, v.culprit)
	}
}

func TestReport(t *testing.T) {
	lines := `{"kind":"write","key":"a","value":"1","node":"node1","client":1,"begin":1000000,"end":2000000,"outcome":"ok"}
{"kind":"write","key":"a","value":"2","node":"node2","client":2,"begin":3000000,"end":4000000,"outcome":"ok"}
{"kind":"write","key":"a","value":"3","node":"node2","client":2,"begin":4000000,"end":4500000,"outcome":"failed"}
{"kind":"read","key":"a","value":"1","node":"node3","client":3,"begin":5000000,"end":6000000,"outcome":"ok"}
{"kind":"read","key":"b","value":null,"node":"node3","client":3,"begin":5000000,"end":6000000,"outcome":"ok"}
`
	history, err := parse(strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	if status := report(&output, check(history, timeout)); status != violated {
		t.Errorf("the status is %d", status)
	}
	for _, wanted := range []string{"a is not linearizable", `>>>     0.0050 s -     0.0060 s  node3     client  3  read  "1"`,
		"4 operations on 2 objects: NOT linearizable"} {
		if !strings.Contains(output.String(), wanted) {
			t.Errorf("%q is not in:\n%s", wanted, output.String())
		}
	}
}

func TestUndecided(t *testing.T) {
	output := new(bytes.Buffer)
	if status := report(output, []verdict{{key: "k", result: porcupine.Unknown}}); status != unknown {
		t.Errorf("the status is %d: %s", status, output)
	}
}

func TestParseErrors(t *testing.T) {
	const write = `{"kind":"write","key":"a","value":"1","begin":1,"end":2,"outcome":"ok"}` + "\n"
	for _, test := range []struct{ lines, wanted string }{
		{"", "no operation"},
		{"no JSON", "line 1"},
		{write + write, "line 2: \"1\" is written to a a second time"},
		{strings.Replace(write, "write", "delete", 1), "kind is \"delete\""},
		{strings.Replace(write, "ok", "fine", 1), "outcome is \"fine\""},
		{strings.Replace(write, `"1"`, "null", 1), "without a value"},
		{strings.Replace(write, `"end":2`, `"end":0`, 1), "before it begins"},
	} {
		if _, err := parse(strings.NewReader(test.lines)); err == nil || !strings.Contains(err.Error(), test.wanted) {
			t.Errorf("%q: %v, not %q", test.lines, err, test.wanted)
		}
	}
}
