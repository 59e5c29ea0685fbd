package source

import (
	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
)

// Fault has f called between the steps of a move: "intended", "moved", "prepared", "pushed".
func (s *Service) Fault(f func(point string)) { s.fault = f }

// CheckURL exposes the rule for remotes.
func (s *Service) CheckURL(remote string) error { return s.checkURL(remote) }

// Changes are updates in the form that git takes them.
func Changes(u []slipway.RefUpdate) []git.RefChange { return changes(u) }
