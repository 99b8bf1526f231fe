package coherence

import (
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"
)

// A simulation that finds nothing wrong would prove nothing if it never did. So here each rule
// is switched off, one at a time, and each time a read has to be wrong soon. What switches a
// rule off is in broken_rules_test.go: it changes what a machine is told or has kept, or what
// the simulation does with it; the package itself knows nothing of it.

// rule is what a simulation does wrong on purpose.
type rule int

const (
	nothing rule = iota
	// Those of the model, shared/coherence_model.py.
	offDoubt
	offAcks
	offOutwait
	offFresh
	offWfresh
	offJoinwait
	offOwnrow
	offKeep
	offOrder
	offConfirm
	offCopy
	offStanding
	offDrain
	offEarly
	offEpoch
	offBdrain
	offSettle
	// What the model does not have.
	offTable
	offEmpty
	offContended
	offDeadline
	offLate
	offGone
	offLeft
	offIdentity
	offCleaning
	offBetween
	offCarried
	offMissing
	offMade
	offMore
	offLackjoin
	offDifference
	offCounting
	offOwn
	offKept
	offSnapshot
	// Those of writes from outside (R14).
	offNoted
	offListed
	offHeld
	offTouched
	offTogether
	offReplaced
	offEverybody
	offReset
	offJoiner
	offBehind
	offTold
	offNonce
	offHolds
	// Those of members that speak for others (R17).
	offWriter
	offAnnounced
	offHint
	offAdvance
	offBye
	offServed
	offRenamed
	offInvented
)

type brokenRule struct {
	off  rule
	name string
	says string
	bias func(*options)
}

var rules = []brokenRule{
	{offDoubt, "doubt", "an announced bucket is bypassed until it is settled (R4)", nil},
	{offAcks, "acks", "a commit waits for every member's acknowledgement (R3)", nil},
	{offOutwait, "outwait", "a writer waits one lease after a member was marked out (R3)", nil},
	{offFresh, "fresh", "serving needs a fresh reading (R2)", nil},
	{offWfresh, "wfresh", "committing needs a fresh reading (R3)", nil},
	{offJoinwait, "joinwait", "a joiner waits one lease, or for everyone's word (R5)", nil},
	{offOwnrow, "ownrow", "who commits has a reading that shows its own row (R5)", lateRows},
	{offKeep, "keep", "an acknowledged event is kept through a new copy (R5)", blinks},
	{offOrder, "order", "an older reading never replaces a newer one (R5)", starts},
	{offConfirm, "confirm", "the word is given by who has the joiner in its reading (R5)", starts},
	{offCopy, "copy", "a joiner copies the open events (R5)", nil},
	{offStanding, "standing", "only one in standing may be copied from (R5)", nil},
	{offDrain, "drain", "an orphan is settled when the transactions open at its arrival have ended (R6)", nil},
	{offEarly, "early", "the version is taken before the load (R1)", nil},
	{offEpoch, "epoch", "who has nobody to copy from takes a new epoch (R7)", nil},
	{offBdrain, "bdrain", "and first waits until the transactions open then have ended (R7)", nil},
	{offSettle, "settle", "settled only after the commit was answered (R4)", nil},
	{offTable, "table", "a joiner copies the versions (R5)", nil},
	{offEmpty, "empty", "a reading shows all members (R3)", nil},
	{offContended, "contended", "what others touched meanwhile is not pushed (R8)", nil},
	{offDeadline, "deadline", "it is loaded before the version (R2)", nil},
	{offLate, "late", "an answer about open transactions tells nothing of events that came after the question (R6)", nil},
	{offGone, "gone", "only one that is proved to have ended is not waited for (R3)", nil},
	{offLeft, "left", "who has left commits nothing more (R3)", leaves},
	{offIdentity, "identity", "a database that may have lost commits renames everything (R13)", nil},
	{offCleaning, "cleaning", "only rows of those that give no sign of life are removed (R5)", longOut},
	{offBetween, "between", "who is out in two readings was out in between (R3)", slowReadings},
	{offCarried, "carried", "nothing announced before the copy is pushed (R8)", lateAnswers},
	{offMissing, "missing", "where rows are missing a commit waits a lease (R3)", deletes},
	{offMade, "made", "and where the cluster's row was just made (R3)", drops},
	{offMore, "more", "and anew when more are missing (R3)", tidiesUp},
	{offLackjoin, "lackjoin", "so does a joiner that has everyone's word (R5)", deletes},
	{offDifference, "difference", "only the rows that were waited for are written off (R3)", tidiesUp},
	{offCounting, "counting", "and only from the count that they were missing in (R3)", tidiesUp},
	{offOwn, "own", "a key is tested against its own database's deadline (R2)", twoServers},
	{offSnapshot, "snapshot", "rows and what the second server is are read at one instant (R13)", manyAtTwoServers},
	{offKept, "kept", "what a second server is is kept in the cluster (R13)", twoServers},
	{offNoted, "noted", "a note is applied before the deadline of its look is published (R14)", outsideOften},
	{offListed, "listed", "a joiner applies what it has seen and its copy does not hold (R14)", outsideOften},
	{offHeld, "held", "what was applied before the copy says nothing of the copy (R14)", outsideCut},
	{offTouched, "touched", "what was written from outside meanwhile is not pushed (R8)", outsideLate},
	{offTogether, "together", "a note is committed with the rows (R14)", outsideOften},
	{offReplaced, "replaced", "in the place of other notes comes one over everything (R14)", outsideCut},
	{offEverybody, "everybody", "a note is deleted when everybody has applied it (R14)", outsideOften},
	{offReset, "reset", "a row that is written as joining forgets what was applied (R14)", outsideSlow},
	{offJoiner, "joiner", "who has no copy has not applied a note (R14)", outsideJoins},
	{offBehind, "behind", "a note is kept for a lease after somebody was put out (R14)", outsideLooks},
	{offTold, "told", "who does not look at a database applies the notes that it is told of (R14)", outsidePartly},
}

// rulesOfInsiders are those that only a member needs that says what it likes (R17).
var rulesOfInsiders = []brokenRule{
	{offWriter, "writer", "only its writer announces an event", insiders},
	{offAnnounced, "announced", "a settlement is of the event as it was announced", insiders},
	{offHint, "hint", "what another than the writer says is over the database confirms", insiders},
	{offAdvance, "advance", "nothing is settled in advance", insiders},
	{offBye, "bye", "a bye is of the session's own incarnation", insiders},
	{offServed, "served", "an event is in doubt where its database begins to be served", servedLater},
	{offRenamed, "renamed", "what nobody could confirm is in doubt at one that copies", servedLater},
	{offInvented, "invented", "what the database says of a note counts, whatever was told", insidersAndNotes},
}

func TestEveryRuleIsNeeded(t *testing.T) {
	if raced {
		t.Skip("takes minutes with the race detector; make simulate runs it without")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	const most = 20000 // schedules until a read must have been wrong
	for _, rule := range slices.Concat(rules, rulesOfInsiders) {
		t.Run(rule.name, func(t *testing.T) {
			schedules, wrong := schedulesUntilWrong(most, rule.off, rule.bias)
			if wrong == nil {
				t.Fatalf("%s: switched off, and no read was wrong in %d schedules", rule.says, most)
			}
			t.Logf("%s: switched off, a read was wrong after %d schedules: %v", rule.says, schedules, wrong)
		})
	}
}

// schedulesUntilWrong runs schedules until a read is wrong, and tells after how many and which.
func schedulesUntilWrong(most int, off rule, bias func(*options)) (schedules int, wrong error) {
	schedules = most
	var mu sync.Mutex
	inParallel(most, func(i int) bool {
		s := newSim(uint64(i), off, bias)
		_ = s.schedule() // it may also hang, which proves nothing here
		mu.Lock()
		defer mu.Unlock()
		if s.stale && i < schedules {
			schedules, wrong = i+1, s.violation
		}
		return !s.stale
	})
	return schedules, wrong
}

// Some need what is rare otherwise.

// lateRows has processes start while the database is slow.
func lateRows(o *options) {
	o.only(map[fault]int{kill: 8, databaseSlow: 4})
	o.joinsFast()
}

// blinks has members that are out for a moment only while others wait for acknowledgements.
func blinks(o *options) {
	o.only(map[fault]int{putOut: 10, cutPair: 2, cutOneWay: 2, stop: 1})
	o.joinsFast()
	o.acks = 600 * time.Millisecond
}

// leaves has processes that leave while they write.
func leaves(o *options) {
	o.only(map[fault]int{leave: 10, stop: 1, cutPair: 1})
	o.joinsFast()
}

// longOut has members that are out for long: clients, who do not reach each other.
func longOut(o *options) {
	o.only(map[fault]int{cutDatabase: 4, cutDatabaseOneWay: 4, putOut: 2, kill: 2})
	o.writes, o.clients, o.size, o.faultEvery = 100, 1000, max(o.size, 4), time.Second
}

// slowReadings has members that join and are put out between two readings of another one.
func slowReadings(o *options) {
	o.only(map[fault]int{cutDatabase: 3, putOut: 6})
	o.joinsFast()
	o.size, o.lasting, o.length = 3, 2*time.Second, 12*time.Second
}

// lateAnswers has processes start that get the answer to COMMIT late.
func lateAnswers(o *options) {
	o.only(map[fault]int{kill: 8, putOut: 2})
	o.joinsFast()
	o.waits, o.size = 200, 3
}

// twoServers has a second database on a server of its own, which loses commits, and which some
// do not reach.
func twoServers(o *options) {
	o.only(map[fault]int{failover: 4, cutDatabase: 4, kill: 4})
	o.joinsFast()
	o.databases, o.apart, o.keys, o.buckets = 2, true, 6, 6
}

// manyAtTwoServers has many who have a view at the moment when one notices a loss, and are not
// disturbed otherwise.
func manyAtTwoServers(o *options) {
	twoServers(o)
	o.only(map[fault]int{failover: 1})
	o.size, o.faultEvery, o.writes = maxPlaces, 3*time.Second, 30
}

// starts has processes that start all the time.
func starts(o *options) {
	o.only(map[fault]int{kill: 8, putOut: 2})
	o.joinsFast()
}

// deletes has somebody delete rows while processes start.
func deletes(o *options) {
	o.only(map[fault]int{kill: 6, leave: 6, stop: 3, deleteRow: 2, deleteRows: 2})
	o.joinsFast()
	o.deletes = 500
}

// drops is that with tables that are dropped.
func drops(o *options) {
	o.only(map[fault]int{kill: 6, leave: 6, stop: 3, dropTables: 6})
	o.joinsFast()
	o.deletes = 500
}

// tidiesUp has somebody delete the row of one that has died, and about a lease later, when others
// write it off and another one starts, all rows.
func tidiesUp(o *options) {
	o.only(map[fault]int{kill: 6, databaseSlow: 2})
	o.joinsFast()
	o.tidies, o.deletes, o.length = 1000, 800, 8*time.Second
	o.faultEvery, o.restart = 4*time.Second, [2]time.Duration{900 * time.Millisecond, 1200 * time.Millisecond}
}

// joinsFast has everyone's word come soon, and much to write.
func (o *options) joinsFast() {
	o.hosts, o.clients, o.writes, o.size = 1, 0, 100, max(o.size, 4)
	o.faultEvery, o.restart = 500*time.Millisecond, [2]time.Duration{10 * time.Millisecond, 60 * time.Millisecond}
}

// only leaves these faults, each so often.
func (o *options) only(weights map[fault]int) {
	o.deletes, o.tidies, o.outs, o.copies, o.known, o.outsideEvery = 0, 0, 0, 0, 0, 0
	for kind := range o.weights {
		o.weights[kind] = weights[fault(kind)]
	}
}
