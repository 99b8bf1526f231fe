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

// outsideTotals are totals since the start.
type outsideTotals struct {
	applied, everything, rows uint64
	applications              []application // the one that was seen last is last
}

type application struct {
	name        string
	notes, rows uint64
	last        time.Time
}

func (t *outsideTotals) count(all bool, rows uint64, name string) {
	t.applied++
	t.rows += rows
	if all {
		t.everything++
	}
	name = Cut(name, maxApplicationName)
	a := application{name: name}
	if i := slices.IndexFunc(t.applications, func(a application) bool { return a.name == name }); i >= 0 {
		a = t.applications[i]
		t.applications = slices.Delete(t.applications, i, i+1)
	} else if len(t.applications) == MaxApplications {
		t.applications = slices.Delete(t.applications, 0, 1)
	}
	a.notes, a.rows, a.last = a.notes+1, a.rows+rows, time.Now()
	t.applications = append(t.applications, a)
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

// OutsideStatistics says what was written from outside, and by which applications.
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
	Last        float64 `json:"last"` // seconds ago
}

// Statistics returns the totals; the applications that have written most rows come first.
func (o *OutsideWrites) Statistics() OutsideStatistics {
	t := &o.totals
	s := OutsideStatistics{t.applied, t.everything, t.rows, []ApplicationStatistics{}}
	for _, a := range t.applications {
		s.ByApplication = append(s.ByApplication,
			ApplicationStatistics{a.name, a.notes, a.rows, time.Since(a.last).Seconds()})
	}
	slices.SortStableFunc(s.ByApplication, func(a, b ApplicationStatistics) int { return cmp.Compare(b.Rows, a.Rows) })
	return s
}
