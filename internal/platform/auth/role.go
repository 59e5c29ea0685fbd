package auth

import (
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// Role is what a user may do.
type Role string

// The roles. From viewer on, each may also do what those before it may. A worker's role stands beside them: it may work and nothing
// else, not even look; operators and admins may work too.
const (
	Worker     Role = "worker"     // claim tasks of the farm, report them, move their artifacts
	Viewer     Role = "viewer"     // look at everything
	Developer  Role = "developer"  // push changes, vote, queue, run experiments
	Gatekeeper Role = "gatekeeper" // approve and land changes, waive results
	Operator   Role = "operator"   // release, deploy, admit nodes, freeze queues, retry jobs
	Admin      Role = "admin"      // users, tokens of others, settings
)

// Roles lists the roles from the least to the most powerful.
func Roles() []Role { return []Role{Worker, Viewer, Developer, Gatekeeper, Operator, Admin} }

// ParseRole checks a role that a person wrote.
func ParseRole(s string) (Role, error) {
	if r := Role(s); r.rank() > 0 {
		return r, nil
	}
	var names []string
	for _, r := range Roles() {
		names = append(names, string(r))
	}
	return "", slipway.Errorf(slipway.Invalid, "unknown role %q", s).Try("use one of " + strings.Join(names, ", "))
}

// Covers reports whether r may do what needed may. An unknown role covers nothing and is covered by nothing.
func (r Role) Covers(needed Role) bool {
	switch {
	case needed == Worker:
		return r == Worker || r.Covers(Operator)
	case r == Worker:
		return false
	}
	return needed.rank() > 0 && r.rank() >= needed.rank()
}

// rank is 0 for an unknown role.
func (r Role) rank() int { return slices.Index(Roles(), r) + 1 }

// both returns the role that may do what both may; an empty one does not count. Of two that have nothing in common it is one that covers
// nothing.
func both(a, b Role) Role {
	switch {
	case a == "" || b != "" && a.Covers(b):
		return b
	case b == "" || b.Covers(a):
		return a
	}
	return "none"
}
