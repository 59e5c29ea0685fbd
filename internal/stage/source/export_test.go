package source

// Fault has f called between the steps of a move: "intended", "moved", "prepared", "pushed".
func (s *Service) Fault(f func(point string)) { s.fault = f }

// CheckURL exposes the rule for remotes.
func (s *Service) CheckURL(remote string) error { return s.checkURL(remote) }
