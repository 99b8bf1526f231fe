package coherence

import (
	"fmt"
	"strings"
	"time"
)

// Why tells an operator why the process does not serve from its cache, and because of whom; ""
// when it does.
func (m *Machine) Why(now Time) string {
	if p := m.refusal(); p != nil && m.phase != joined {
		return p.describe() + " does not let this process in"
	}
	switch m.phase {
	case unlisted, posting:
		if m.because == "" {
			return "it has not joined yet"
		}
		return m.because + ", and joins again when " + m.silentOnes() + " answer"
	case awaitingAcks:
		if len(m.awaited) == 0 && m.mayLack(now) {
			return "it joins, and waits for a lease, as rows of the members table are missing"
		}
		return "it joins, and waits for the word of " + m.awaitedOnes()
	case copying:
		return "it joins, and has found nobody to copy from: " + m.describeSources()
	case booting:
		return "it begins with a new epoch, and waits for transactions that were open before"
	case entering:
		return "it joins, and has its copy"
	case left:
		return "it has left"
	}
	switch {
	case !m.listed:
		return "its row in the members table is gone"
	case m.state == Out:
		return "it was put out (" + m.reason + ")"
	case !m.isFresh(now):
		return m.whyStale(now)
	}
	return ""
}

func (m *Machine) whyStale(now Time) string {
	age := time.Duration(now - m.asked).Round(100 * time.Millisecond)
	why := fmt.Sprintf("its last reading of the members table is %v old", age)
	if m.failed != "" {
		why += ": " + m.failed
	}
	return why
}

// silentOnes names who has not answered since this process was put out.
func (m *Machine) silentOnes() string {
	var names []string
	for _, p := range m.order {
		if !p.gone && !p.row.Overdue && p.answered != m.attempt {
			names = append(names, p.describe())
		}
	}
	return listed(names)
}

func (m *Machine) awaitedOnes() string {
	var names []string
	for _, p := range m.awaited {
		names = append(names, p.describe())
	}
	return listed(names)
}

func (m *Machine) describeSources() string {
	var names []string
	for _, p := range m.order {
		if p.row.State == In && !p.gone {
			names = append(names, p.describe()+" does not give one")
		}
	}
	if len(names) == 0 {
		return "it asks to be elected"
	}
	return listed(names)
}

// listed joins names for a sentence; a cluster may be too large for a line.
func listed(names []string) string {
	const most = 5
	switch n := len(names); {
	case n == 0:
		return "all"
	case n > most:
		return fmt.Sprintf("%s and %d others", strings.Join(names[:most], ", "), n-most)
	}
	return strings.Join(names, ", ")
}
