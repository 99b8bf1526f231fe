package mesh

import (
	"testing"

	"guillotina_groupcache/internal/transport"
)

// A lane that is dropped late leaves the one that has taken its place.
func TestALaneThatEndsLeavesTheNextOne(t *testing.T) {
	var l Lanes
	first, next := new(transport.Lane), new(transport.Lane)
	l.put("a:1", first)
	l.put("a:1", next)
	l.drop("a:1", first)
	if l.To("a:1") != next {
		t.Error("the next one is forgotten")
	}
	l.drop("a:1", next)
	if l.To("a:1") != nil {
		t.Error("it is kept")
	}
}
