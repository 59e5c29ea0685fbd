package git

import (
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// Zero is how git writes "no object"; EmptyTree is the id of the tree without entries.
const (
	Zero      = slipway.ZeroCommit
	EmptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
)

// IsID reports whether s is a full object id in lower-case hexadecimal.
func IsID(s string) bool {
	if len(s) != len(Zero) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// CheckRef returns an error of kind Invalid unless ref is a full ref name ("refs/heads/main") that git accepts
// (git-check-ref-format(1)) and that is no option.
func CheckRef(ref string) error {
	bad := func(why string) error {
		return slipway.Errorf(slipway.Invalid, "%q is not a ref name: %s", ref, why).Try("write it like refs/heads/main")
	}
	switch {
	case !strings.HasPrefix(ref, "refs/"):
		return bad("it does not start with refs/")
	case len(ref) > 255:
		return bad("it is longer than 255 bytes")
	case strings.HasSuffix(ref, "."), strings.Contains(ref, ".."), strings.Contains(ref, "@{"):
		return bad(`it ends in ".", or holds ".." or "@{"`)
	}
	for i := range len(ref) {
		if c := ref[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`~^:?*[\`, c) >= 0 {
			return bad("it holds a space, a control character or one of ~^:?*[\\")
		}
	}
	parts := strings.Split(ref, "/")
	if len(parts) < 3 {
		return bad("it has fewer than three parts")
	}
	for _, p := range parts {
		if p == "" || p[0] == '.' || strings.HasSuffix(p, ".lock") {
			return bad(`a part is empty, starts with "." or ends in ".lock"`)
		}
		if p[0] == '-' {
			return bad(`a part starts with "-"`)
		}
	}
	return nil
}

// checkRev refuses revisions that no honest caller writes: options, and text that would end a line of input.
func checkRev(rev string) error {
	if rev == "" || rev[0] == '-' || len(rev) > 1024 || strings.ContainsAny(rev, "\n\x00") {
		return slipway.Errorf(slipway.Invalid, "%q is not a revision", rev).Try("give a branch, a tag or a commit id")
	}
	return nil
}

// CheckPath returns an error of kind Invalid unless path names something inside a tree: relative, clean, without
// "." or ".." and without anything that git keeps for itself. The empty path is the whole tree.
func CheckPath(path string) error {
	if path == "" {
		return nil
	}
	if strings.ContainsAny(path, "\x00\n") || len(path) > 4096 {
		return slipway.Errorf(slipway.Invalid, "%q is not a path in a repository: it holds a line end or is too long", path)
	}
	for p := range strings.SplitSeq(path, "/") {
		if err := checkEntry(p); err != nil {
			return slipway.Errorf(slipway.Invalid, "%q is not a path in a repository: %w", path, err)
		}
	}
	return nil
}

// checkEntry refuses a name that must not be an entry of a tree that is written to disk.
func checkEntry(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return slipway.Errorf(slipway.Invalid, "%q is no file name", name)
	case strings.EqualFold(name, ".git"):
		return slipway.Errorf(slipway.Invalid, "%q belongs to git", name)
	case strings.ContainsAny(name, "/\x00"):
		return slipway.Errorf(slipway.Invalid, "%q holds a slash or a zero byte", name)
	}
	return nil
}
