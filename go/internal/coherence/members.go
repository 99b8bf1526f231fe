package coherence

import (
	"cmp"
	"maps"
	"slices"
)

// members are the other processes that have a row.
type members struct {
	cfg       *Config
	byID      map[Incarnation]*member
	order     []*member // by incarnation, so that a schedule from one seed always runs the same
	lastEntry uint64    // number of the last entry of any member's log
}

// member is what this process keeps of another one for as long as that has a row.
type member struct {
	row      Row      // the incarnation never changes
	shown    bool     // the last view shows it
	outSince Time     // when a view first showed it as out, or did not show it any more
	markedAt Time     // when this process last asked to mark it out
	log      entryLog // what is sent to it in order
	answered uint64   // the last probe that it answered
	refuses  bool     // it does not admit this process
	// outOfReach: the log says that this process cannot reach it.
	outOfReach bool

	ended bool // it is proved to have ended: it acknowledges nothing and commits nothing
	bye   bool // it has said bye, and a view has confirmed that since
	byeAt Time // when it first said bye; 0: it has not

	copiedAt  Time    // when it was last given a copy
	digestsAt [2]Time // when its digest was last looked at: one that is an answer, one that wants an answer
	differs   difference
}

// isIn reports whether the last view shows a member as in.
func (p *member) isIn() bool { return p.shown && p.row.State == In }

// state is the row's, or out for a member that is proved to have ended.
func (p *member) state() State {
	if p.ended {
		return Out
	}
	return p.row.State
}

func (p *member) describe() string {
	if p.row.Address == "" {
		return "a client"
	}
	return p.row.Address
}

func (ms *members) add(row Row) *member {
	p := &member{row: row}
	ms.byID[row.Incarnation] = p
	i, _ := slices.BinarySearchFunc(ms.order, p, byIncarnation)
	ms.order = slices.Insert(ms.order, i, p)
	return p
}

func (ms *members) drop(p *member) {
	delete(ms.byID, p.row.Incarnation)
	i, _ := slices.BinarySearchFunc(ms.order, p, byIncarnation)
	ms.order = slices.Delete(ms.order, i, i+1)
}

// restore puts the order right after a panic.
func (ms *members) restore() {
	ms.order = slices.SortedFunc(maps.Values(ms.byID), byIncarnation)
}

func byIncarnation(a, b *member) int { return cmp.Compare(a.row.Incarnation, b.row.Incarnation) }

// refusing returns a member that is alive and does not admit this process.
func (ms *members) refusing() *member {
	for _, p := range ms.order {
		if p.refuses && !p.ended && !p.row.Overdue {
			return p
		}
	}
	return nil
}

// isLive reports whether the last view shows a process, and not as out.
func (ms *members) isLive(id Incarnation) bool {
	if id == ms.cfg.Incarnation {
		return true
	}
	p := ms.byID[id]
	return p != nil && p.shown && p.row.State != Out
}

// eldest returns the member with which the others compare their versions, and from which they copy anew
// (anti-entropy); nil where that is this process. Any two processes that copy from different members may
// still differ. The eldest is no client: clients do not reach each other, and could not pass on what they
// have.
func (ms *members) eldest() *member {
	for _, p := range ms.order {
		if p.isIn() && !p.ended && p.row.Address != "" {
			if ms.cfg.Address != "" && p.row.Incarnation > ms.cfg.Incarnation {
				return nil
			}
			return p
		}
	}
	return nil
}
