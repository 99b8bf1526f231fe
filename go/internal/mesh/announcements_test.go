package mesh

import (
	"testing"

	"guillotina_groupcache/internal/coherence"
)

func TestAnnouncementsAreRememberedUpToABound(t *testing.T) {
	var a Announcements
	for event := range uint64(3 * maxAnnouncements) {
		a.Add(event, coherence.Time(event)+100)
	}
	for event := range uint64(3 * maxAnnouncements) {
		at, known := a.Of(event)
		if recent := event >= 2*maxAnnouncements; known != recent || known && at != coherence.Time(event)+100 {
			t.Fatalf("event %d: %d, %v", event, at, known)
		}
	}
	if len(a.at) != maxAnnouncements || len(a.order) != maxAnnouncements {
		t.Errorf("%d and %d are remembered", len(a.at), len(a.order))
	}
}
