package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// operation is one line of a history: what a client requested, and the outcome.
type operation struct {
	Kind    string  `json:"kind"`  // read or write
	Key     string  `json:"key"`   // which object
	Value   *string `json:"value"` // what was written or found; null: there was no object
	Node    string  `json:"node"`  // which node answered
	Client  int     `json:"client"`
	Begin   int64   `json:"begin"` // nanoseconds of one clock
	End     int64   `json:"end"`
	Outcome string  `json:"outcome"` // ok, failed (certainly no effect) or unknown
}

func (o *operation) value() string {
	if o.Value == nil {
		return absent
	}
	return *o.Value
}

// absent is the value of a missing object. No client writes it.
const absent = "\x00absent"

const maxLine = 1 << 20

// parse reads a history, by object. It leaves out failed operations and reads of unknown
// outcome, which prove nothing. Two writes of one value to an object are an error, as a value
// has to identify its write.
func parse(input io.Reader) (map[string][]operation, error) {
	history := make(map[string][]operation)
	written := make(map[[2]string]bool)
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, maxLine)
	for number := 1; lines.Scan(); number++ {
		var o operation
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if err := o.validate(); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if o.Outcome == "failed" || o.Kind == "read" && o.Outcome == "unknown" {
			continue
		}
		if o.Kind == "write" {
			id := [2]string{o.Key, *o.Value}
			if written[id] {
				return nil, fmt.Errorf("line %d: %q is written to %s a second time", number, *o.Value, o.Key)
			}
			written[id] = true
		}
		history[o.Key] = append(history[o.Key], o)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(history) == 0 {
		return nil, errors.New("it has no operation to check")
	}
	return history, nil
}

func (o *operation) validate() error {
	switch {
	case o.Kind != "read" && o.Kind != "write":
		return fmt.Errorf("kind is %q, allowed are read and write", o.Kind)
	case o.Outcome != "ok" && o.Outcome != "failed" && o.Outcome != "unknown":
		return fmt.Errorf("outcome is %q, allowed are ok, failed and unknown", o.Outcome)
	case o.Kind == "write" && o.Value == nil:
		return errors.New("a write without a value")
	case o.End < o.Begin:
		return errors.New("it ends before it begins")
	}
	return nil
}
