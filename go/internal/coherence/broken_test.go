package coherence

import (
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"
)

// A simulation that finds nothing wrong proves nothing unless it would find something. So here each rule is
// switched off, one at a time, and each time a read has to be wrong soon. The code that switches a rule off
// is in broken_rules_test.go: it changes the input or the memory of a machine, or what the simulation does
// with it; the package itself knows nothing of it.

// rule is a rule that a simulation breaks on purpose.
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
	offServing
	offDrain
	offEarly
	offEpoch
	offBdrain
	offSettle
	// Those that the model does not have.
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
	offRelayed
	offNonce
	offHolds
	// Those of members that speak for others (R17).
	offWriter
	offAnnounced
	offHint
	offAdvance
	offBye
	offServed
	offBumped
	offInvented
)

type brokenRule struct {
	off   rule
	name  string
	holds string
	bias  func(*options)
}

var rules = []brokenRule{
	{offDoubt, "doubt", "an announced bucket is bypassed until it is settled (R4)", nil},
	{offAcks, "acks", "a commit waits for every member's acknowledgement (R3)", nil},
	{offOutwait, "outwait", "a writer waits one lease after a member was marked out (R3)", nil},
	{offFresh, "fresh", "serving needs a fresh view (R2)", nil},
	{offWfresh, "wfresh", "committing needs a fresh view (R3)", nil},
	{offJoinwait, "joinwait", "a joiner waits one lease, or for everyone's acknowledgement (R5)", nil},
	{offOwnrow, "ownrow", "a process that commits has a view that shows its own row (R5)", lateRows},
	{offKeep, "keep", "an acknowledged event is kept through a new copy (R5)", blinks},
	{offOrder, "order", "an older view never replaces a newer one (R5)", starts},
	{offConfirm, "confirm", "a join request is acknowledged once a view shows the joiner (R5)", starts},
	{offCopy, "copy", "a joiner copies the open events (R5)", nil},
	{offServing, "serving", "a joiner copies only from a member that serves (R5)", nil},
	{offDrain, "drain", "an orphan is settled when the transactions open at its arrival have ended (R6)", nil},
	{offEarly, "early", "the version is taken before the load (R1)", nil},
	{offEpoch, "epoch", "a process that has no member to copy from takes a new epoch (R7)", nil},
	{offBdrain, "bdrain", "and first waits until the transactions open then have ended (R7)", nil},
	{offSettle, "settle", "settled only after the commit was answered (R4)", nil},
	{offTable, "table", "a joiner copies the versions (R5)", nil},
	{offEmpty, "empty", "a view shows all members (R3)", nil},
	{offContended, "contended", "a bucket that others have touched meanwhile is not pushed (R8)", nil},
	{offDeadline, "deadline", "the deadline is loaded before the version (R2)", nil},
	{offLate, "late", "an answer about open transactions says nothing of events that came after the query (R6)", nil},
	{offGone, "gone", "only a member that is proved to have ended is not waited for (R3)", nil},
	{offLeft, "left", "a process that has left commits nothing more (R3)", leaves},
	{offIdentity, "identity", "a database that may have lost commits bumps the epoch (R13)", nil},
	{offCleaning, "cleaning", "only rows whose heartbeat is overdue are removed (R5)", longOut},
	{offBetween, "between", "a member that is out in two views was out in between (R3)", slowViews},
	{offCarried, "carried", "nothing announced before the copy is pushed (R8)", lateAnswers},
	{offMissing, "missing", "where rows are missing a commit waits a lease (R3)", deletes},
	{offMade, "made", "and where the cluster's row was just made (R3)", drops},
	{offMore, "more", "and anew when more are missing (R3)", tidiesUp},
	{offLackjoin, "lackjoin", "so does a joiner that has everyone's acknowledgement (R5)", deletes},
	{offDifference, "difference", "only the rows that were waited for are written off (R3)", tidiesUp},
	{offCounting, "counting", "and only from the count that they were missing in (R3)", tidiesUp},
	{offOwn, "own", "a key is tested against its own database's deadline (R2)", twoServers},
	{offSnapshot, "snapshot", "rows and the second server's identity are read at one instant (R13)", manyAtTwoServers},
	{offKept, "kept", "the cluster keeps the second server's identity (R13)", twoServers},
	{offNoted, "noted", "a note is applied before the deadline of its look is published (R14)", outsideOften},
	{offListed, "listed", "a joiner applies what it has seen and its copy does not hold (R14)", outsideOften},
	{offHeld, "held", "notes that were applied before the copy count for nothing in the copy (R14)", outsideCut},
	{offTouched, "touched", "a bucket that was written from outside meanwhile is not pushed (R8)", outsideLate},
	{offTogether, "together", "a note is committed with the rows (R14)", outsideOften},
	{offReplaced, "replaced", "notes are replaced by one over everything (R14)", outsideCut},
	{offEverybody, "everybody", "a note is deleted once all members have applied it (R14)", outsideOften},
	{offReset, "reset", "a row that is written as joining forgets what was applied (R14)", outsideSlow},
	{offJoiner, "joiner", "a process without a copy has not applied a note (R14)", outsideJoins},
	{offBehind, "behind", "a note is kept for a lease after somebody was put out (R14)", outsideLooks},
	{offRelayed, "relayed", "a process that does not look at a database applies the notes that are relayed to it (R14)", outsidePartly},
}

// insiderRules are those that are needed only because of a member that says whatever it likes (R17).
var insiderRules = []brokenRule{
	{offWriter, "writer", "only its writer announces an event", insiders},
	{offAnnounced, "announced", "a settlement is of the event as it was announced", insiders},
	{offHint, "hint", "the database confirms what another process than the writer says is over", insiders},
	{offAdvance, "advance", "nothing is settled in advance", insiders},
	{offBye, "bye", "a bye is of the session's own incarnation", insiders},
	{offServed, "served", "an event is in doubt where its database begins to be served", servedLater},
	{offBumped, "bumped", "an event that nobody could confirm is in doubt at a process that copies", servedLater},
	{offInvented, "invented", "what the database says of a note counts, whatever was relayed", insidersAndNotes},
}

func TestEveryRuleIsNeeded(t *testing.T) {
	if raced {
		t.Skip("takes minutes with the race detector; make simulate runs it without")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	const most = 20000 // schedules until a read must have been wrong
	for _, rule := range slices.Concat(rules, insiderRules) {
		t.Run(rule.name, func(t *testing.T) {
			schedules, wrong := schedulesUntilWrong(most, rule.off, rule.bias)
			if wrong == nil {
				t.Fatalf("%s: switched off, and no read was wrong in %d schedules", rule.holds, most)
			}
			t.Logf("%s: switched off, a read was wrong after %d schedules: %v", rule.holds, schedules, wrong)
		})
	}
}

// schedulesUntilWrong runs schedules until a read is wrong, and returns after how many, and the read.
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

// Some rules need what is rare otherwise.

// lateRows has processes start while the database is slow.
func lateRows(o *options) {
	o.only(map[fault]int{kill: 8, databaseSlow: 4})
	o.joinsFast()
}

// blinks has members that are out only for a moment, while others wait for acknowledgements.
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

// longOut has members that are out for long: clients, which do not reach each other.
func longOut(o *options) {
	o.only(map[fault]int{cutDatabase: 4, cutDatabaseOneWay: 4, putOut: 2, kill: 2})
	o.writes, o.clients, o.size, o.faultEvery = 100, 1000, max(o.size, 4), time.Second
}

// slowViews has members that join and are put out between two views of another one.
func slowViews(o *options) {
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

// twoServers has a second database on a server of its own, which loses commits, and which some processes do
// not reach.
func twoServers(o *options) {
	o.only(map[fault]int{failover: 4, cutDatabase: 4, kill: 4})
	o.joinsFast()
	o.databases, o.apart, o.keys, o.buckets = 2, true, 6, 6
}

// manyAtTwoServers has many processes that take a view at the moment when one notices a loss, and no other
// faults.
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

// drops is deletes with tables that are dropped.
func drops(o *options) {
	o.only(map[fault]int{kill: 6, leave: 6, stop: 3, dropTables: 6})
	o.joinsFast()
	o.deletes = 500
}

// tidiesUp has somebody delete the row of a process that has died, and about a lease later, when others write
// it off and another process starts, all rows.
func tidiesUp(o *options) {
	o.only(map[fault]int{kill: 6, databaseSlow: 2})
	o.joinsFast()
	o.tidies, o.deletes, o.length = 1000, 800, 8*time.Second
	o.faultEvery, o.restart = 4*time.Second, [2]time.Duration{900 * time.Millisecond, 1200 * time.Millisecond}
}

// joinsFast has joiners get their acknowledgements quickly, and much to write.
func (o *options) joinsFast() {
	o.hosts, o.clients, o.writes, o.size = 1, 0, 100, max(o.size, 4)
	o.faultEvery, o.restart = 500*time.Millisecond, [2]time.Duration{10 * time.Millisecond, 60 * time.Millisecond}
}

// only leaves these faults, each with its frequency.
func (o *options) only(weights map[fault]int) {
	o.deletes, o.tidies, o.outs, o.copies, o.known, o.outsideEvery = 0, 0, 0, 0, 0, 0
	for kind := range o.weights {
		o.weights[kind] = weights[fault(kind)]
	}
}
