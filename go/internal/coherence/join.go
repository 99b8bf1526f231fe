package coherence

import (
	"slices"
	"time"
)

// joining is the way into the cluster (R5, R7).
type joining struct {
	phase   phase
	attempt uint64    // tells the tries apart
	since   Time      // when the own row was posted
	awaited []*member // who has not given its word yet
	asking  bool      // awaited is known: a reading after the post has come
	tries   int
	retryAt Time
	stood   Time     // since when it is in standing
	before  []string // writing transactions open when this process was elected

	// One that was put out asks whether everybody answers before it posts its row again.
	probing bool
	pause   time.Duration // after which it does so all the same
	latest  Time          // until when others that are put out may prolong the pause
	askAt   Time          // when to ask again
	because string        // why it was put out
	prefer  Incarnation   // whom to copy from, if it can be asked

	sourcesAsked map[Incarnation]struct{} // for a copy, in this try
}

// hasState tells whether epoch, table and events are those of the cluster.
func (m *Machine) hasState() bool { return m.phase == entering || m.phase == joined }

// advance takes the next step of joining, if it is time for one.
func (m *Machine) advance(now Time) {
	if m.cfg.Alone {
		return
	}
	switch m.phase {
	case unlisted:
		if m.listed && m.refusal() != nil {
			return // it has a row, which is all that it takes to write
		}
		if now >= m.retryAt || m.probing && m.everybodyAnswers(now) {
			m.phase, m.probing = posting, false
			m.act(Action{Kind: Post})
		}
	case awaitingAcks:
		m.awaitWords(now)
	case copying:
		if now >= m.retryAt {
			m.tryCopy(now)
		}
	case booting:
		if now >= m.retryAt {
			m.retryAt = now.Add(retry)
			m.act(Action{Kind: OpenTransactions})
		}
	}
}

// Posted answers [Post].
func (m *Machine) Posted(now Time, err error) {
	if m.phase != posting {
		return
	}
	if err != nil {
		m.startOver(now)
		return
	}
	m.phase, m.since, m.retryAt = awaitingAcks, now, now
	m.attempt++
	m.awaited, m.asking = nil, false
	m.read()
}

// joinAgain is for who was put out. It tries again as soon as everybody who is alive has
// answered it. While somebody does not it would be put out again, and as long as its row says
// joining that one cannot commit: so it tries only now and then, in growing pauses, each longer
// than the lease that a writer waits for who is out.
func (m *Machine) joinAgain(now Time, because string) {
	if m.phase == joined && now >= m.stood.Add(minPause*m.cfg.Lease) {
		m.pause = 0
	}
	m.pause = min(max(2*m.pause, minPause*m.cfg.Lease), maxPause*m.cfg.Lease)
	m.attempt++
	m.phase, m.retryAt = unlisted, now.Add(m.pause)
	m.probing, m.askAt, m.because = true, now, because
	m.latest = now.Add(maxPause * m.cfg.Lease)
	if !m.listed {
		m.retryAt = now // nobody has put it out
	}
}

// startOver begins anew after a pause.
func (m *Machine) startOver(now Time) {
	m.phase, m.probing, m.retryAt = unlisted, false, now.Add(retry)
}

// everybodyAnswers asks all that may be alive, and tells whether all have answered since this
// process was put out. A connection that seems to be there is not enough: it may take seconds
// until one that was cut is known to be.
func (m *Machine) everybodyAnswers(now Time) bool {
	everybody := true
	for _, p := range m.order {
		if p.gone || p.row.Overdue || p.answered == m.attempt {
			continue
		}
		everybody = false
		if now >= m.askAt {
			m.send(p.row.Incarnation, &Message{Kind: Probe, Attempt: m.attempt})
		}
	}
	if now >= m.askAt {
		m.askAt = now.Add(retry / 6)
	}
	return everybody
}

// awaitWords waits until every process in the table, also those that are out, has confirmed
// to have this one in its reading, or one lease has passed: from then on each of them
// announces to this process whatever it commits.
func (m *Machine) awaitWords(now Time) {
	if now >= m.since.Add(m.outlastLease()) {
		m.beginCopy(now)
		return
	}
	if !m.asking {
		if !m.known || m.asked < m.since {
			return
		}
		m.asking = true
		m.awaited = slices.Clone(m.order)
	}
	m.awaited = slices.DeleteFunc(m.awaited, func(p *member) bool {
		return p.gone || m.members[p.row.Incarnation] != p
	})
	if len(m.awaited) == 0 && !m.mayLack(now) {
		m.beginCopy(now)
		return
	}
	if now >= m.retryAt {
		m.retryAt = now.Add(retry / 6)
		for _, p := range m.awaited {
			m.send(p.row.Incarnation, &Message{Kind: JoinRequest, Attempt: m.attempt})
		}
	}
}

func (m *Machine) gotWord(now Time, who Incarnation, attempt uint64) {
	if m.phase == awaitingAcks && m.asking && attempt == m.attempt {
		m.awaited = slices.DeleteFunc(m.awaited, func(p *member) bool { return p.row.Incarnation == who })
		m.awaitWords(now)
	}
}

func (m *Machine) beginCopy(now Time) {
	m.phase, m.tries, m.sourcesAsked = copying, 0, make(map[Incarnation]struct{})
	m.tryCopy(now)
}

// tryCopy asks one in standing for its state, or, where there is none, to be elected.
func (m *Machine) tryCopy(now Time) {
	if !m.isFresh(now) {
		m.read()
		return
	}
	m.retryAt = now.Add(retry)
	if now <= m.served || m.refusal() != nil {
		return // no copy would be taken yet, see copied, or none would be given
	}
	m.tries++
	source, boots := m.sources()
	if source != nil {
		m.sourcesAsked[source.row.Incarnation] = struct{}{}
		m.send(source.row.Incarnation, &Message{Kind: CopyRequest, Attempt: m.attempt})
		if m.tries > patience {
			m.markOutOfReach(now, source)
		}
		return
	}
	if m.tries > patience {
		for _, p := range boots {
			// It may wait long for open transactions, and is marked out only if it has died.
			m.act(Action{Kind: MarkOut, To: p.row.Incarnation, Text: "nobody hears of it", IfOverdue: !p.gone})
		}
	}
	m.act(Action{Kind: Elect})
}

// sources returns a member in standing, chosen at random unless one is preferred, and those
// that are elected.
func (m *Machine) sources() (source *member, boots []*member) {
	var in []*member
	for _, row := range m.Rows() {
		p := m.members[row.Incarnation]
		switch row.State {
		case In:
			in = append(in, p)
		case Boot:
			boots = append(boots, p)
		}
	}
	if p := m.members[m.prefer]; p != nil && slices.Contains(in, p) && m.tries < patience {
		return p, boots
	}
	if len(in) > 0 {
		source = in[m.cfg.Random()%uint64(len(in))]
	}
	return source, boots
}

// Elected answers [Elect]: whether this process begins with a new epoch, and which writing
// transactions were open just after it was elected.
func (m *Machine) Elected(now Time, won bool, open []string, err error) {
	if m.phase != copying || err != nil || !won {
		return
	}
	m.phase, m.before, m.retryAt = booting, open, now
	m.advance(now)
}

// boot begins with a random epoch once the transactions open at the election have ended.
func (m *Machine) boot(now Time, open []string) {
	if m.phase == booting && !intersects(m.before, open) && now > m.served {
		m.enter(now, &Snapshot{Epoch: m.even()})
	}
}

// Entered answers [Enter]: whether the row was still there to be turned to in.
func (m *Machine) Entered(now Time, ok bool, err error) {
	if m.phase != entering {
		return
	}
	if err != nil || !ok {
		m.startOver(now)
		return
	}
	m.phase, m.stood, m.prefer = joined, now, 0
	m.publish()
	m.read()
}
