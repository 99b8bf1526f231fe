package bridge

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"guillotina_groupcache/internal/coherence"
)

// aloneMachine returns the machine of a process without peers, and its table.
func aloneMachine() (*coherence.Machine, *coherence.Table) {
	table := coherence.NewTable(make([]uint64, coherence.TableHeader+8))
	return coherence.New(coherence.Config{Incarnation: 1, Alone: true, Random: func() uint64 { return 2 }}, table, 1), table
}

func TestANoteIsKeptForAsLongAsItIsListed(t *testing.T) {
	m, table := aloneMachine()
	o := NewOutsideWrites(func(string, string) {})
	for id, seen := range []coherence.Time{0, 0, 60} {
		note, err := NewNote(table, uint64(id+1), 8, nil, false, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		o.Register(note, seen, false)
	}
	if !o.take(m, &reached{Word: 8, Outside: []coherence.OutsideID{1}}, 50, 50) {
		t.Fatal("a registered note is not known")
	}
	o.forget(100, 100)
	if len(o.registered) != 2 || o.registered[1] == nil || o.registered[3] == nil {
		t.Errorf("kept %v, want 1, which is listed, and 3, which is new", o.registered)
	}
	o.forget(500, 100)
	if len(o.registered) != 1 || o.registered[1] == nil {
		t.Errorf("kept %v, want 1, which the last look has listed", o.registered)
	}
	o.take(m, &reached{Word: 8}, 600, 600)
	o.forget(700, 100)
	if len(o.registered) != 0 {
		t.Errorf("kept %v, which no look lists", o.registered)
	}
}

func TestTheStatisticsOfApplicationsAreBounded(t *testing.T) {
	o := NewOutsideWrites(nil)
	totals := &o.totals
	for i := range MaxApplications {
		totals.count(false, 1, fmt.Sprint(i))
	}
	totals.count(true, 5, "0")
	totals.count(false, 0, strings.Repeat("ü", 1000))
	names := []string{}
	for _, a := range o.Statistics().ByApplication {
		names = append(names, a.Application)
	}
	if len(names) != MaxApplications || slices.Contains(names, "1") || names[0] != "0" ||
		names[len(names)-1] != strings.Repeat("ü", maxApplicationName) {
		t.Errorf("%q", names)
	}
	if s := o.Statistics(); s.Applied != MaxApplications+2 || s.Everything != 1 || s.Rows != MaxApplications+5 || s.ByApplication[0].Notes != 2 {
		t.Errorf("%+v", s)
	}
}
