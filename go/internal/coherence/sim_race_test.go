//go:build race

package coherence

// raced: the race detector is on, with which a schedule takes ten times as long.
const raced = true
