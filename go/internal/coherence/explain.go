package coherence

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Why tells an operator why this process does not serve from its cache, and which members are the reason.
// It is "" while the process serves.
func (m *Machine) Why(now Time) string {
	j, v := &m.join, &m.view
	if p := m.members.refusing(); p != nil && j.phase != joined {
		return p.describe() + " does not admit this process"
	}
	switch j.phase {
	case unlisted, posting:
		if j.reason == "" {
			return "it has not joined yet"
		}
		return j.reason + ", and joins again once answered by " + describe(j.members.order, j.owesAnswer)
	case awaitingAcks:
		if len(j.awaited) == 0 && v.mayLack(now) {
			return "it joins, and waits for a lease, as rows of the members table are missing"
		}
		return "it joins, and waits for the acknowledgement of " + describe(j.awaited, func(*member) bool { return true })
	case copying:
		isSource := func(p *member) bool { return p.state() == In }
		if !slices.ContainsFunc(m.members.order, isSource) {
			return "it joins, and asks to be elected, as there is no member to copy from"
		}
		return "it joins, and has not got a copy yet from " + describe(m.members.order, isSource)
	case booting:
		return "it begins with a new epoch, and waits for transactions that were open before"
	case entering:
		return "it joins, and has its copy"
	case left:
		return "it has left"
	}
	switch {
	case !v.listed:
		return "its row in the members table is gone"
	case v.state == Out:
		return "it was put out (" + v.reason + ")"
	case !v.isFresh(now):
		age := time.Duration(now - v.asked).Round(100 * time.Millisecond)
		return strings.TrimSuffix(fmt.Sprintf("its last view of the members table is %v old: %s", age, v.failed), ": ")
	}
	return ""
}

// describe lists the members that are meant for a sentence; a cluster may be too large for one line.
func describe(members []*member, isMeant func(*member) bool) string {
	const most = 5
	var found []string
	for _, p := range members {
		if isMeant(p) {
			found = append(found, p.describe())
		}
	}
	switch n := len(found); {
	case n == 0:
		return "all"
	case n > most:
		return fmt.Sprintf("%s and %d others", strings.Join(found[:most], ", "), n-most)
	}
	return strings.Join(found, ", ")
}
