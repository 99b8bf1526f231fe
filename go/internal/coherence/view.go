package coherence

import "slices"

// view is the members table as it was seen last.
type view struct {
	cfg     *Config
	out     *outbox
	members *members

	asked  Time   // when it was asked for: it counts from then
	taken  bool   // there is one
	listed bool   // it shows this process's own row
	state  State  // of that row
	reason string // why that row is out

	failed   string // why there is no newer view; "": there is
	underWay bool   // one is being taken. The next one waits, so that an older view never replaces a newer one
	wanted   bool   // another one that begins later is wanted
	next     Time   // when to take one that nobody has asked for
	nudged   Time   // when one was last asked for because of what a peer has said
	// hasteUntil is until when views are taken often, as a member has said bye.
	hasteUntil   Time
	lastDeadline Time // the latest one that readers were ever shown
	missing      missing
	requests     []joinRequest
}

// joinRequest is a joiner's request to confirm that it is counted as a member.
type joinRequest struct {
	from    Incarnation
	attempt uint64
	at      Time
}

// isFresh reports whether the view is younger than the lease.
func (v *view) isFresh(now Time) bool { return v.taken && now < v.asked.Add(v.cfg.Lease) }

// showsMember reports whether the view shows this process's own row, and not as out.
func (v *view) showsMember() bool { return v.listed && v.state != Out }

// take asks for a view that begins later than now.
func (v *view) take() {
	v.wanted = v.underWay
	if !v.underWay {
		v.underWay = true
		v.out.act(Action{Kind: TakeView})
	}
}

// poll takes four views per lease. While this process joins it takes more, as others wait for it.
func (v *view) poll(now Time, joining bool) {
	if now < v.next {
		return
	}
	every := v.cfg.Lease / 4
	if joining || now < v.hasteUntil {
		every = v.cfg.Lease / 60
	}
	v.next, v.nudged = now.Add(every), now
	v.take()
}

// nudge asks for a view because of what a peer has said. A peer can say it at any time, so this takes no
// more views than a joiner does.
func (v *view) nudge(now Time) {
	if at := v.nudged.Add(v.cfg.Lease / 60); v.nudged > 0 && now < at {
		v.next = min(v.next, at)
		return
	}
	v.nudged = now
	v.take()
}

// requested has a join request wait for a view that begins from now on: it shows a joiner whose row was
// there before the request.
func (v *view) requested(now Time, from Incarnation, attempt uint64) {
	i := slices.IndexFunc(v.requests, func(r joinRequest) bool { return r.from == from })
	switch {
	case i >= 0 && v.requests[i].attempt == attempt:
		return
	case i >= 0:
		v.requests = slices.Delete(v.requests, i, i+1)
	case len(v.requests) == maxJoinRequests:
		return // the joiner waits for a lease then
	}
	v.requests = append(v.requests, joinRequest{from, attempt, now})
	v.nudge(now)
}

// acknowledgeJoiners answers the join requests that came before the view of the time asked began.
func (v *view) acknowledgeJoiners(asked Time) {
	later := v.requests[:0]
	for _, r := range v.requests {
		if r.at > asked {
			later = append(later, r)
			continue
		}
		if p := v.members.byID[r.from]; p != nil && p.row.State != Out {
			v.out.send(r.from, &Message{Kind: JoinAck, Attempt: r.attempt})
		}
	}
	v.requests = later
}

// byeReceived is for a member that serves and writes nothing any more, and removes its row. It is
// believed when a view that began later shows that row as out or not at all (R17), which is soon.
func (v *view) byeReceived(now Time, p *member) {
	if p.byeAt == 0 {
		p.byeAt, v.hasteUntil = now, now.Add(v.cfg.Lease)
	}
	v.nudge(now)
}

// confirmBye believes a member's bye if the view began after it was said.
func (v *view) confirmBye(p *member) {
	if p.byeAt > 0 && v.asked >= p.byeAt {
		p.ended, p.bye = true, true
	}
}

// mayServeUnseen reports whether a process may still serve by a view from before it was put out, or
// before its row was deleted.
func (v *view) mayServeUnseen(now Time) bool {
	return v.mayLack(now) || slices.ContainsFunc(v.members.order, func(p *member) bool {
		return p.row.State == Out && !p.ended && now < p.outSince.Add(v.cfg.outlastLease())
	})
}
