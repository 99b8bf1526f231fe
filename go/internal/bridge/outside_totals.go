package bridge

import (
	"cmp"
	"slices"
	"time"
)

const (
	// MaxApplications is how many applications the statistics name; a new one replaces the one that
	// was not seen for the longest time.
	MaxApplications = 32
	// maxApplicationName is as long as PostgreSQL's own limit, in characters.
	maxApplicationName = 64
)

// OutsideStatistics says what was written from outside since the start, and by which applications.
type OutsideStatistics struct {
	Applied       uint64                  `json:"applied"`    // notes
	Everything    uint64                  `json:"everything"` // those of them that were over everything
	Rows          uint64                  `json:"rows"`       // as far as it is known
	ByApplication []ApplicationStatistics `json:"by_application"`
}

// ApplicationStatistics says what one application has written from outside.
type ApplicationStatistics struct {
	Application string  `json:"application"`
	Notes       uint64  `json:"notes"`
	Rows        uint64  `json:"rows"`
	Last        float64 `json:"last"` // seconds ago, when it is reported
	seen        time.Time
}

// count counts a note. The application that was seen last is last.
func (s *OutsideStatistics) count(all bool, rows uint64, name string) {
	s.Applied++
	s.Rows += rows
	if all {
		s.Everything++
	}
	name = Cut(name, maxApplicationName)
	a := ApplicationStatistics{Application: name}
	known := func(a ApplicationStatistics) bool { return a.Application == name }
	if i := slices.IndexFunc(s.ByApplication, known); i >= 0 {
		a = s.ByApplication[i]
		s.ByApplication = slices.Delete(s.ByApplication, i, i+1)
	} else if len(s.ByApplication) == MaxApplications {
		s.ByApplication = slices.Delete(s.ByApplication, 0, 1)
	}
	a.Notes, a.Rows, a.seen = a.Notes+1, a.Rows+rows, time.Now()
	s.ByApplication = append(s.ByApplication, a)
}

// Statistics returns the totals; the applications that have written most rows come first.
func (o *OutsideWrites) Statistics() OutsideStatistics {
	s := o.totals
	s.ByApplication = append([]ApplicationStatistics{}, s.ByApplication...) // a list in JSON also when there are none
	for i := range s.ByApplication {
		s.ByApplication[i].Last = time.Since(s.ByApplication[i].seen).Seconds()
	}
	slices.SortStableFunc(s.ByApplication, func(a, b ApplicationStatistics) int { return cmp.Compare(b.Rows, a.Rows) })
	return s
}

// Cut returns at most so many of the first characters of a text.
func Cut(text string, characters int) string {
	for i := range text {
		if characters--; characters < 0 {
			return text[:i]
		}
	}
	return text
}
