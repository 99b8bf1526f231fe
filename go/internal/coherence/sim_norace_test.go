//go:build !race

package coherence

const raced = false
