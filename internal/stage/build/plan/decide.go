package plan

// Decision is what to do now.
type Decision struct {
	Start   []Action
	Skip    map[Action]string
	Waits   map[Action]string
	Done    bool
	Failed  []Action
	Skipped []Action
}

// Decide says what can start, what never will, and whether the wave is over.
func (p *Plan) Decide(status map[Action]Status) Decision {
	r, skips := p.Begin(status)
	d := Decision{Skip: map[Action]string{}, Waits: map[Action]string{}, Start: r.Ready(0), Done: r.Done()}
	for _, s := range skips {
		d.Skip[s.Action] = s.Why
	}
	for _, a := range p.Actions {
		switch r.Status(a) {
		case Failed:
			d.Failed = append(d.Failed, a)
		case Skipped:
			d.Skipped = append(d.Skipped, a)
		}
		if w := r.Waits(a); w != "" {
			d.Waits[a] = w
		}
	}
	return d
}
