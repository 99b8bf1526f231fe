package coherence

import "testing"

// rule names what a simulation does wrong on purpose: a simulation that finds nothing wrong
// then would prove nothing when all is right.
type rule int

const (
	none                    rule = iota
	commitsUnacknowledged        // R3: COMMIT is sent before everyone has acknowledged
	servesWhenStale              // R2: the deadline is not looked at
	servesInDoubt                // R4: the mark of doubt is not looked at
	namesAfterTheLoad            // R1: the version is taken after the load
	settlesBeforeTheAnswer       // R4: settled before the answer to COMMIT
	forgetsOpenTransactions      // R6, R7: the database says that nothing is open
	readsAnEmptyTable            // R3: a reading shows nobody else
	copiesNoOpenEvents           // R5: the copy lacks the open events
	pushesWhatIsContended        // R8: a value is pushed though others touched its bucket
)

// waits tells whether COMMIT may not be sent yet.
func (m *Machine) waits(id EventID) bool {
	for _, o := range m.waiting {
		if o.event.ID == id {
			return true
		}
	}
	return false
}

func TestSimulationFindsWhatIsBroken(t *testing.T) {
	const most = 6000 // schedules until the violation must have shown
	for broken, name := range map[rule]string{
		commitsUnacknowledged:   "commits unacknowledged",
		servesWhenStale:         "serves when stale",
		servesInDoubt:           "serves in doubt",
		namesAfterTheLoad:       "names after the load",
		settlesBeforeTheAnswer:  "settles before the answer",
		forgetsOpenTransactions: "forgets open transactions",
		readsAnEmptyTable:       "reads an empty table",
		copiesNoOpenEvents:      "copies no open events",
		pushesWhatIsContended:   "pushes what is contended",
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(most) {
				s := newSim(seed + 1)
				s.broken = broken
				if _ = s.schedule(); s.violation != nil {
					t.Logf("after %d schedules: %v", seed+1, s.violation)
					return
				}
			}
			t.Errorf("no violation in %d schedules", most)
		})
	}
}
