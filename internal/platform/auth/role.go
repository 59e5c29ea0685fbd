package auth

import (
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// Role is what a user may do.
type Role string

// The roles, each of which may also do what those before it may.
const (
	Viewer     Role = "viewer"     // look at everything
	Developer  Role = "developer"  // push changes, vote, queue, run experiments
	Gatekeeper Role = "gatekeeper" // approve and land changes, waive results
	Operator   Role = "operator"   // release, deploy, admit nodes, freeze queues, retry jobs
	Admin      Role = "admin"      // users, tokens of others, settings
)

// Roles lists the roles from the least to the most powerful.
func Roles() []Role { return []Role{Viewer, Developer, Gatekeeper, Operator, Admin} }

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
func (r Role) Covers(needed Role) bool { return needed.rank() > 0 && r.rank() >= needed.rank() }

// rank is 0 for an unknown role.
func (r Role) rank() int { return slices.Index(Roles(), r) + 1 }

// lower returns the less powerful of two roles; an empty one does not count.
func lower(a, b Role) Role {
	if a == "" || (b != "" && b.rank() < a.rank()) {
		return b
	}
	return a
}
