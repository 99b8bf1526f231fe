// The checker reports whether a history of reads and writes is linearizable, object by object.
//
//	checker HISTORY
//
// The history is a file of JSON lines (see operation). The exit status is 0 if it is
// linearizable, 1 if it is not, with an explanation, and 2 if that cannot be decided.
package main

import (
	"fmt"
	"os"
	"time"
)

const (
	linearizable = iota
	violated
	unknown
)

// timeout bounds the search for one object's order, which takes milliseconds where few
// operations overlap.
const timeout = time.Minute

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: checker HISTORY")
		os.Exit(unknown)
	}
	file, err := os.Open(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "checker:", err)
		os.Exit(unknown)
	}
	defer file.Close()
	history, err := parse(file)
	if err != nil {
		fmt.Fprintf(os.Stderr, "checker: %s: %v\n", os.Args[1], err)
		os.Exit(unknown)
	}
	os.Exit(report(os.Stdout, check(history, timeout)))
}
