package main

import (
	"cmp"
	"slices"
)

// reduce drops the operations that cannot change the verdict about one object, and gives each
// write of unknown outcome the latest end that it can have. The result is short, and no
// operation in it lasts until the end of the history, so that it is searched quickly.
//
// A value is written at most once, so it is the object's value for one stretch of time.
//
//   - A write of unknown outcome whose value was never read may have had no effect, and need
//     not be placed. A write whose value was read took effect before the first such read ended.
//   - Of the reads of one value only two count: the one that ended first and the one that
//     began last. Between the instants at which these two are placed the object has the value.
//     Every other read of it ended no earlier than the first and began no later than the last,
//     so it can be placed between them.
func reduce(history []operation) []operation {
	first, last := make(map[string]operation), make(map[string]operation)
	for _, o := range history {
		if o.Kind != "read" {
			continue
		}
		value := o.value()
		if f, found := first[value]; !found || o.End < f.End {
			first[value] = o
		}
		if l, found := last[value]; !found || o.Begin > l.Begin {
			last[value] = o
		}
	}
	var reduced []operation
	for _, o := range history {
		if o.Kind != "write" {
			continue
		}
		if o.Outcome == "unknown" {
			read, found := first[o.value()]
			if !found {
				continue
			}
			o.End = max(o.Begin, read.End)
		}
		reduced = append(reduced, o)
	}
	for value, f := range first {
		reduced = append(reduced, f)
		if l := last[value]; l != f {
			reduced = append(reduced, l)
		}
	}
	slices.SortFunc(reduced, func(a, b operation) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End), cmp.Compare(a.Client, b.Client))
	})
	return reduced
}
