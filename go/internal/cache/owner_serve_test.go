package cache

import "testing"

// What exceeds the budget is neither copied nor loaded: the peer requests it again.
func TestOwnerServesNoMoreThanItsBudget(t *testing.T) {
	d := &database{respond: give}
	o := newOwner(t, d, roomy)
	o.Keep(VersionedKey{[]byte("large"), 2}, make([]byte, 100), 0, Never)
	keys := versioned(2, "a", "large", "large", "large", "b")
	results := o.Serve(t.Context(), keys, 150)
	if len(results) != 3 || len(results[2].Value) != 100 {
		t.Errorf("%d results", len(results))
	}
	wantResult(t, results[0], Database, valueOf("a"))
	if hits := o.store.Stats().Hits; hits != 2 || d.loadsOf("b") != 0 {
		t.Errorf("%d values were copied, and the key after them was loaded %d times", hits, d.loadsOf("b"))
	}
	for i, r := range o.Serve(t.Context(), versioned(2, "c", "d"), 0) {
		if wantResult(t, r, Database, valueOf("c")); i > 0 {
			t.Error("more than one value was served without a budget")
		}
	}
}
