package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// around is the number of operations shown before and after the one that cannot be explained.
const around = 12

// report prints the verdicts and returns the exit status.
func report(out io.Writer, verdicts []verdict) int {
	operations, status := 0, linearizable
	for _, v := range verdicts {
		operations += len(v.history)
		switch v.result {
		case porcupine.Illegal:
			fmt.Fprintf(out, "%s is not linearizable\n", v.key)
			explain(out, v)
			status = violated
		case porcupine.Unknown:
			fmt.Fprintf(out, "%s: not decided in time: too many of its %d operations overlap\n", v.key, len(v.history))
			if status == linearizable {
				status = unknown
			}
		}
	}
	fmt.Fprintf(out, "%d operations on %d objects: %s\n", operations, len(verdicts),
		[]string{"linearizable", "NOT linearizable", "not decided"}[status])
	return status
}

// explain prints the culprit, the write whose value it read, and the operations on the object
// at about that time.
func explain(out io.Writer, v verdict) {
	ended := slices.Clone(v.history)
	slices.SortFunc(ended, func(a, b operation) int {
		return cmp.Or(cmp.Compare(a.End, b.End), cmp.Compare(a.Begin, b.Begin))
	})
	at := slices.Index(ended, v.culprit)
	if v.culprit.Kind == "read" {
		source := slices.IndexFunc(ended, func(o operation) bool {
			return o.Kind == "write" && o.value() == v.culprit.value()
		})
		if source < 0 {
			fmt.Fprintln(out, "  no operation wrote what was read:")
		} else {
			fmt.Fprintln(out, "  what was read is the value of:")
			line(out, ended[source], "   ")
		}
	}
	fmt.Fprintln(out, "  in the order of their ends, the first that no order can explain marked:")
	for i := max(0, at-around); i < min(len(ended), at+around+1); i++ {
		mark := "   "
		if i == at {
			mark = ">>>"
		}
		line(out, ended[i], mark)
	}
}

func line(out io.Writer, o operation, mark string) {
	value := fmt.Sprintf("%q", o.value())
	if o.Value == nil {
		value = "(no object)"
	}
	end := fmt.Sprintf("%10.4f s", seconds(o.End))
	if o.Outcome == "unknown" {
		end = "  no answer"
	}
	fmt.Fprintf(out, "  %s %10.4f s - %s  %-9s client %2d  %-5s %s\n",
		mark, seconds(o.Begin), end, o.Node, o.Client, o.Kind, value)
}

func seconds(nanoseconds int64) float64 { return time.Duration(nanoseconds).Seconds() }
