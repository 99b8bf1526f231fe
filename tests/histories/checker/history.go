package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// operation is one line of a history: what a client asked for, and what came of it.
type operation struct {
	Kind    string  `json:"kind"`  // read or write
	Key     string  `json:"key"`   // which object
	Value   *string `json:"value"` // what was written or found; null: there was no object
	Node    string  `json:"node"`  // who was asked
	Client  int     `json:"client"`
	Begin   int64   `json:"begin"` // nanoseconds of one clock
	End     int64   `json:"end"`
	Outcome string  `json:"outcome"` // ok, failed (no effect, for certain) or unknown
}

func (o *operation) value() string {
	if o.Value == nil {
		return absent
	}
	return *o.Value
}

// absent is the value of an object that is not there. Nobody writes it.
const absent = "\x00absent"

const maxLine = 1 << 20

// parse reads a history, by object. What failed, and reads of which nothing is known, say
// nothing and are left out. It is an error if two writes of an object have one value: a value
// has to tell which write it is of.
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
		return nil, errors.New("there is nothing in it to be checked")
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
		return errors.New("its end is before its begin")
	}
	return nil
}
