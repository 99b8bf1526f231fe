package transport

import (
	"fmt"
	"runtime/debug"
)

// Panicked is the error that [Guard] makes of a panic.
type Panicked struct {
	Value any
	Stack string // for the log, and for nobody else
}

func (p *Panicked) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Guard calls f and makes an error of a panic in it: a bug in what is done for one peer must not
// end the process.
func Guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &fault{ReasonPanic, &Panicked{p, string(debug.Stack())}}
		}
	}()
	return f()
}
