package coherence

import (
	"slices"
	"time"
)

// phase is how far this process has come on its way into the cluster; see states.md.
type phase uint8

const (
	unlisted     phase = iota // it has no row yet, or was put out and must write its row again
	posting                   // the database was asked to write the row as joining
	awaitingAcks              // the row is there; everyone's acknowledgement, or a lease, is waited for (R5)
	copying                   // it looks for a serving member to copy from, or asks to be elected (R7)
	booting                   // it is elected, and waits until the transactions that were open then have ended
	entering                  // it has its copy; the database was asked to turn the row to in
	joined                    // the row is in: it serves as long as its view is fresh (R2)
	left                      // it has said bye
)

// join is the way into the cluster (R5, R7).
type join struct {
	cfg     *Config
	out     *outbox
	members *members
	view    *view

	phase    phase
	attempt  uint64    // tells one attempt from another
	retryAt  Time      // when the next step is tried
	postedAt Time      // when this process's row was written as joining
	awaited  []*member // members that have not acknowledged the join request
	asking   bool      // awaited is known: a view has come that began after the row was written
	tries    int       // how often a copy was asked for
	joinedAt Time      // since when the phase is joined

	copyRequests map[Incarnation]struct{} // members that were asked for a copy in this attempt
	preferred    Incarnation              // the member to copy from, if it can be asked
	openBefore   []string                 // writing transactions that were open when this process was elected

	// A process that was put out probes whether all members answer before it writes its row again.
	probing bool
	probeAt Time          // when to probe again
	pause   time.Duration // after which it writes its row all the same
	latest  Time          // until when other members that are put out may prolong the pause
	reason  string        // why it was put out
}

// hasCopy reports whether epoch, table and events are those of the cluster.
func (j *join) hasCopy() bool { return j.phase == entering || j.phase == joined }

// isUnderWay reports whether others may be waiting for this process to join.
func (j *join) isUnderWay() bool { return j.phase != joined && j.phase != unlisted }

// advance takes the next step, if it is time for one.
func (j *join) advance(now Time) {
	if j.cfg.Alone {
		return
	}
	switch j.phase {
	case unlisted:
		if j.view.listed && j.members.refusing() != nil {
			return // it has a row, which is all that it takes to write
		}
		if now >= j.retryAt || j.probing && j.everybodyAnswers(now) {
			j.phase, j.probing = posting, false
			j.out.act(Action{Kind: Post})
		}
	case awaitingAcks:
		j.awaitAcks(now)
	case copying:
		if now >= j.retryAt {
			j.tryCopy(now)
		}
	case booting:
		if now >= j.retryAt {
			j.retryAt = now.Add(retry)
			j.out.act(Action{Kind: OpenTransactions})
		}
	}
}

// Posted answers [Post].
func (m *Machine) Posted(now Time, err error) {
	j := &m.join
	if j.phase != posting {
		return
	}
	if err != nil {
		j.startOver(now)
		return
	}
	j.phase, j.postedAt, j.retryAt = awaitingAcks, now, now
	j.attempt++
	j.awaited, j.asking = nil, false
	m.view.take()
}

// rejoin is for a process that was put out. It tries again as soon as every member that is alive has
// answered a probe. While one does not, the process would be put out again, and as long as its row says
// joining that member could not commit. So it tries only now and then, in growing pauses, each longer
// than the lease that a writer waits for a member that is out.
func (j *join) rejoin(now Time, reason string) {
	if j.phase == joined && now >= j.joinedAt.Add(minPause*j.cfg.Lease) {
		j.pause = 0
	}
	j.pause = min(max(2*j.pause, minPause*j.cfg.Lease), maxPause*j.cfg.Lease)
	j.attempt++
	j.phase, j.retryAt = unlisted, now.Add(j.pause)
	j.probing, j.probeAt, j.reason = true, now, reason
	j.latest = now.Add(maxPause * j.cfg.Lease)
	if !j.view.listed {
		j.retryAt = now // nobody has put it out
	}
}

// startOver starts again after a short pause.
func (j *join) startOver(now Time) {
	j.phase, j.probing, j.retryAt = unlisted, false, now.Add(retry)
}

// everybodyAnswers probes all members that may be alive, and reports whether all have answered since this
// process was put out. A connection that seems to be there is not enough: it may take seconds until it is
// known that it was cut.
func (j *join) everybodyAnswers(now Time) bool {
	everybody := true
	for _, p := range j.members.order {
		if !j.owesAnswer(p) {
			continue
		}
		everybody = false
		if now >= j.probeAt {
			j.out.send(p.row.Incarnation, &Message{Kind: Probe, Attempt: j.attempt})
		}
	}
	if now >= j.probeAt {
		j.probeAt = now.Add(retry / 6)
	}
	return everybody
}

func (j *join) owesAnswer(p *member) bool {
	return !p.ended && !p.row.Overdue && p.answered != j.attempt
}

// awaitAcks waits until every process in the table, also each that is out, has confirmed that its view
// shows this one, or until a lease has passed: from then on each of them announces to this process
// whatever it commits.
func (j *join) awaitAcks(now Time) {
	if now >= j.postedAt.Add(j.cfg.outlastLease()) {
		j.beginCopy(now)
		return
	}
	if !j.asking {
		if !j.view.taken || j.view.asked < j.postedAt {
			return
		}
		j.asking = true
		j.awaited = slices.Clone(j.members.order)
	}
	j.awaited = slices.DeleteFunc(j.awaited, func(p *member) bool {
		return p.ended || j.members.byID[p.row.Incarnation] != p
	})
	if len(j.awaited) == 0 && !j.view.mayLack(now) {
		j.beginCopy(now)
		return
	}
	if now >= j.retryAt {
		j.retryAt = now.Add(retry / 6)
		for _, p := range j.awaited {
			j.out.send(p.row.Incarnation, &Message{Kind: JoinRequest, Attempt: j.attempt})
		}
	}
}

func (j *join) ackReceived(now Time, from Incarnation, attempt uint64) {
	if j.phase == awaitingAcks && j.asking && attempt == j.attempt {
		j.awaited = slices.DeleteFunc(j.awaited, func(p *member) bool { return p.row.Incarnation == from })
		j.awaitAcks(now)
	}
}

// Elected answers [Elect]: whether this process begins with a new epoch, and which writing transactions
// were open just after it was elected.
func (m *Machine) Elected(now Time, won bool, open []string, err error) {
	if m.join.phase != copying || err != nil || !won {
		return
	}
	m.join.phase, m.join.openBefore, m.join.retryAt = booting, open, now
	m.join.advance(now)
}

// boot begins with a random epoch once the transactions that were open at the election have ended.
func (m *Machine) boot(now Time, open []string) {
	if m.join.phase == booting && !intersects(m.join.openBefore, open) && now > m.view.lastDeadline {
		m.enter(now, &Snapshot{Epoch: m.cfg.nonce()})
	}
}

// Entered answers [Enter]: ok is whether the row was still there to be turned to in.
func (m *Machine) Entered(now Time, ok bool, err error) {
	j := &m.join
	if j.phase != entering {
		return
	}
	if err != nil || !ok {
		j.startOver(now)
		return
	}
	j.phase, j.joinedAt, j.preferred = joined, now, 0
	m.publish()
	m.view.take()
}

// isLate reports whether this process's row shows a step that this process has not taken, or has taken back: the
// database has executed late a statement that counted as failed.
func (j *join) isLate() bool {
	v := j.view
	switch j.phase {
	case awaitingAcks, copying:
		return v.listed && v.asked >= j.postedAt && (v.state == In || v.state == Boot)
	case joined:
		return v.listed && v.asked >= j.joinedAt && (v.state == Joining || v.state == Boot)
	}
	return false
}
