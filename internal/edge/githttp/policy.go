package githttp

import (
	"fmt"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// The roles that git needs, as platform/auth names them.
const (
	Viewer     = "viewer"
	Developer  = "developer"
	Gatekeeper = "gatekeeper"
	Admin      = "admin"
)

// proposals is the prefix of refs whose pushes become changes.
const proposals = "refs/for/"

// request is one ref of a push, and what [judge] must know about it.
type request struct {
	Repo     string
	Mirror   bool // the repository follows a remote
	Empty    bool // it has no branch yet
	Ref      string
	Old, New string
	Forced   bool // New does not contain Old
	Target   bool // for refs/for/BRANCH: BRANCH exists
	Queue    bool // a product's branch: its commits are releases
	User     User
}

// judge returns nil if the ref may move, else a Forbidden or Invalid error that tells the pusher what to do instead.
func judge(r request) error {
	deny := func(remedy, format string, args ...any) error {
		return slipway.Errorf(slipway.Forbidden, format, args...).At(r.Ref).Try(remedy)
	}
	branch, isBranch := strings.CutPrefix(r.Ref, "refs/heads/")
	_, isTag := strings.CutPrefix(r.Ref, "refs/tags/")
	target, isProposal := strings.CutPrefix(r.Ref, proposals)
	released := slipway.ProductAt(r.Repo, "main") != ""
	created, deleted := r.Old == slipway.ZeroCommit, r.New == slipway.ZeroCommit
	switch {
	case r.Mirror:
		return deny("push to the remote that it follows", "%s is a mirror and takes no pushes", r.Repo)
	case !r.User.May(Developer):
		return deny("ask an administrator for the role developer", "%s may not push", r.User.Name)
	case isProposal && deleted:
		return deny("abandon it with: slipway change abandon NUMBER", "a change is not deleted by a push")
	case isProposal && !r.Target:
		return slipway.Errorf(slipway.Invalid, "there is no branch %s that a change could be for", target).At(r.Ref).
			Try("the first push of a repository goes to refs/heads/" + target)
	case isProposal:
		return nil
	case !isBranch && !isTag:
		return deny("push to refs/for/BRANCH, refs/heads/BRANCH or refs/tags/TAG", "this ref belongs to Slipway")
	case released && isTag && !created:
		return deny("make another one; what was released stays", "the tag of an integration repository is neither moved nor deleted")
	case r.Queue && deleted:
		return deny("take it out of branches: in product.yaml at main first; main itself stays", "the branch has a queue")
	case r.Queue && r.Forced:
		return deny("revert with a commit on top", "the releases are commits of this branch, and none of them may be dropped (a forced push)")
	case deleted && !r.User.May(Admin):
		return deny("ask an administrator", "%s may not delete a %s", r.User.Name, kind(isTag))
	case isTag && !created && !r.User.May(Admin):
		return deny("make a new tag; only an administrator moves one", "the tag exists, and what was released under it must stay")
	case r.Forced && !r.User.May(Admin):
		return deny(fmt.Sprintf("rebase on %s and push again; only an administrator rewrites history", branch),
			"the push would drop commits that are on the branch (a forced push)")
	case r.Empty && created, r.User.May(Gatekeeper):
		return nil
	case isTag:
		return deny("let Slipway tag what lands, or ask a gatekeeper", "%s may not push tags", r.User.Name)
	}
	if created {
		return deny("ask a gatekeeper to make it", "%s may not make branches", r.User.Name)
	}
	return deny(fmt.Sprintf("propose the change with: git push origin HEAD:refs/for/%s", branch),
		"the branch is protected: a direct push needs the role gatekeeper")
}

func kind(tag bool) string {
	if tag {
		return "tag"
	}
	return "branch"
}
