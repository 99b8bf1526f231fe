package coherence

// Listed tells whether the last view shows a row of a process, in any state.
func (m *Machine) Listed(who Incarnation) bool {
	if who == m.cfg.Incarnation {
		return m.listed
	}
	p := m.members[who]
	return p != nil && p.listed
}
