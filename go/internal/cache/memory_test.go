//go:build !race

package cache

import (
	"strings"
	"testing"
)

// The error of a size beyond any address space is one line that names the setting, not a panic with a dump.
func TestMemoryThatIsRefusedIsAnErrorOfTheSetting(t *testing.T) {
	for _, alone := range []bool{false, true} {
		g, err := New(Config{Size: 1 << 62, Alone: alone, Now: realClock}, nil, nil)
		if err == nil {
			g.Close()
			t.Skip("the system grants any size")
		}
		if !strings.HasPrefix(err.Error(), "groupcache.size: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("alone %v: got %v", alone, err)
		}
	}
}
