package main

import (
	"cmp"
	"slices"
)

// reduce drops what cannot change the verdict about one object, and gives writes of which
// nothing is known the latest end that they can have. It makes histories short and leaves
// nothing open to their end, so that they are searched quickly.
//
// A value is written once at most, so it is the object's value for one stretch of time.
//
//   - A write of unknown outcome whose value nobody has read may have had no effect, and need
//     not be placed. One whose value was read took effect before the first such read ended.
//   - Of the reads of one value only two count: the one that ended first and the one that
//     began last. Wherever those two are placed, the value is there all the time between, and
//     every other one ended no earlier than the first and began no later than the last: it has
//     an instant in between.
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
