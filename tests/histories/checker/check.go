package main

import (
	"cmp"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// register models an object with one value under a sequence of operations.
var register = porcupine.Model{
	Init: func() any { return absent },
	Step: func(state, input, output any) (bool, any) {
		if o := input.(*operation); o.Kind == "write" {
			return true, o.value()
		} else {
			return o.value() == state.(string), state
		}
	},
}

// verdict is the result for one object.
type verdict struct {
	key     string
	history []operation
	result  porcupine.CheckResult
	culprit operation // if the result is Illegal: the first operation that no order can explain
}

// check returns the verdicts of a history's objects; timeout bounds the search for each.
func check(history map[string][]operation, timeout time.Duration) []verdict {
	keys := slices.Sorted(maps.Keys(history))
	verdicts := make([]verdict, len(keys))
	free := make(chan struct{}, runtime.NumCPU())
	var wg sync.WaitGroup
	for i, key := range keys {
		wg.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			v := verdict{key: key, history: history[key]}
			v.result = isLinearizable(v.history, timeout)
			if v.result == porcupine.Illegal {
				v.culprit = culprit(v.history, timeout)
			}
			verdicts[i] = v
		})
	}
	wg.Wait()
	return verdicts
}

func isLinearizable(history []operation, timeout time.Duration) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(register, forPorcupine(reduce(history)), timeout)
}

func forPorcupine(history []operation) []porcupine.Operation {
	operations := make([]porcupine.Operation, len(history))
	for i := range history {
		o := &history[i]
		operations[i] = porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Begin, Return: o.End}
	}
	return operations
}

// culprit returns the operation at whose end the history ceases to be linearizable: what was
// known an instant earlier still is.
func culprit(history []operation, timeout time.Duration) operation {
	ended := slices.Clone(history)
	slices.SortFunc(ended, func(a, b operation) int { return cmp.Compare(a.End, b.End) })
	at, _ := slices.BinarySearchFunc(ended, porcupine.Illegal, func(o operation, _ porcupine.CheckResult) int {
		if isLinearizable(until(history, o.End), timeout) == porcupine.Illegal {
			return 1
		}
		return -1
	})
	return ended[min(at, len(ended)-1)]
}

// until returns what was known of a history at an instant.
func until(history []operation, instant int64) []operation {
	var known []operation
	for _, o := range history {
		if o.End > instant {
			if o.Kind == "read" || o.Begin > instant {
				continue
			}
			o.Outcome = "unknown"
		}
		known = append(known, o)
	}
	return known
}
