//go:build race

package coherence

// raced tells that the race detector is on, with which a schedule takes ten times as long.
const raced = true
