package coherence

// How other processes, and this one, are marked out in the members table.

// markOut asks to mark a member out, and asks again when no view shows it after a while.
func (v *view) markOut(now Time, p *member, reason string) {
	if p.markedAt == 0 || now >= p.markedAt.Add(v.cfg.Lease/4) {
		if p.markedAt == 0 {
			v.out.log("member " + p.describe() + " is marked out: " + reason)
		}
		p.markedAt = now
		v.out.act(Action{Kind: MarkOut, To: p.row.Incarnation, Text: reason})
	}
	v.take()
}

// markOutOfReach is for a member that does not give a joiner a copy. A member that this process has a
// connection with is marked out. One that it cannot reach may be alive, and is marked out only if its
// heartbeat is overdue in the database too.
func (v *view) markOutOfReach(now Time, p *member) {
	if _, connected := v.out.connected[p.row.Incarnation]; connected || p.ended {
		v.markOut(now, p, "nothing can be copied from it")
		return
	}
	if !p.outOfReach {
		p.outOfReach = true
		v.out.log("cannot reach " + p.describe() + " and so cannot join while it lives: reads go to the database")
	}
	v.out.act(Action{Kind: MarkOut, To: p.row.Incarnation, Text: heartbeatOverdue, IfOverdue: true})
	v.take()
}

const heartbeatOverdue = "its heartbeat is overdue"

// standAside asks to mark this process out, because a member does not admit it.
func (v *view) standAside(refusing *member) {
	v.out.act(Action{Kind: MarkOut, To: v.cfg.Incarnation, Text: refusing.describe() + " does not admit it"})
}
