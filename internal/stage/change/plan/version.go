package plan

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Version is a release version, without pre-release or build parts.
type Version struct{ Major, Minor, Patch int }

// String writes 1.2.3.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Less reports whether v comes before w.
func (v Version) Less(w Version) bool {
	if v.Major != w.Major {
		return v.Major < w.Major
	}
	if v.Minor != w.Minor {
		return v.Minor < w.Minor
	}
	return v.Patch < w.Patch
}

var versionRule = regexp.MustCompile(`^v?(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})$`)

// ParseVersion reads "1.2.3" or "v1.2.3".
func ParseVersion(s string) (Version, bool) {
	m := versionRule.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return Version{}, false
	}
	var v Version
	v.Major, _ = strconv.Atoi(m[1])
	v.Minor, _ = strconv.Atoi(m[2])
	v.Patch, _ = strconv.Atoi(m[3])
	return v, true
}

// TagPrefix is what stands before the version in the tags of a component: "v", or "PATH/v" in a monorepo.
func TagPrefix(path string) string {
	if path == "" {
		return "v"
	}
	return path + "/v"
}

// Latest returns the highest version among tag names ("v1.2.0", "lib/v0.3.1") of the component at path.
func Latest(tags []string, path string) (latest Version, found bool) {
	for _, t := range tags {
		rest, ok := strings.CutPrefix(t, TagPrefix(path))
		if !ok {
			continue
		}
		if v, ok := ParseVersion(rest); ok && (!found || latest.Less(v)) {
			latest, found = v, true
		}
	}
	return latest, found
}

// Level is how much a version moves.
type Level int

// The levels.
const (
	Patch Level = iota
	Minor
	Major
)

// String names the level as semver does.
func (l Level) String() string { return [...]string{"patch", "minor", "major"}[l] }

var (
	headerRule   = regexp.MustCompile(`^([A-Za-z]+)(\([^()\n]*\))?(!)?: \S`)
	breakingRule = regexp.MustCompile(`(?m)^BREAKING[ -]CHANGE: \S`)
)

// LevelOf reads one commit message: a breaking change is Major, a feature Minor, everything else Patch.
func LevelOf(message string) Level {
	message = strings.ReplaceAll(message, "\r\n", "\n")
	first, rest, _ := strings.Cut(strings.TrimLeft(message, "\n"), "\n")
	m := headerRule.FindStringSubmatch(first)
	switch {
	case m != nil && m[3] == "!", breakingRule.MatchString(rest):
		return Major
	case m != nil && strings.EqualFold(m[1], "feat"):
		return Minor
	}
	return Patch
}

// first is the version of a component that has none yet.
var first = Version{0, 1, 0}

// Bump returns the version after latest for commits with the given messages, and the reason. While the major version
// is 0 a breaking change moves the minor one. Without an earlier version it is 0.1.0.
func Bump(latest Version, found bool, messages []string) (Version, string) {
	if !found {
		return first, "the first version"
	}
	level, because := Patch, ""
	for _, m := range messages {
		if l := LevelOf(m); because == "" || l > level {
			level = l
			because, _, _ = strings.Cut(strings.TrimLeft(m, "\n"), "\n")
		}
	}
	reason := fmt.Sprintf("%s after %s, because of %q", level, latest, because)
	if level == Major && latest.Major == 0 {
		level = Minor
		reason = fmt.Sprintf("minor after %s (breaking, while the major version is 0), because of %q", latest, because)
	}
	switch level {
	case Major:
		return Version{latest.Major + 1, 0, 0}, reason
	case Minor:
		return Version{latest.Major, latest.Minor + 1, 0}, reason
	}
	return Version{latest.Major, latest.Minor, latest.Patch + 1}, reason
}

// FromFile returns the version for a component whose VERSION file says text. When that version is not above the latest,
// the patch number after the latest is taken and write is true: the file is to be rewritten.
func FromFile(text string, latest Version, found bool) (v Version, write bool, reason string, err error) {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	v, ok := ParseVersion(line)
	switch {
	case !ok:
		return v, false, "", fmt.Errorf("%q is not a version such as 1.2.3", line)
	case !found || latest.Less(v):
		return v, false, "as its version file says", nil
	}
	return Version{latest.Major, latest.Minor, latest.Patch + 1}, true,
		fmt.Sprintf("patch after %s; its version file said %s", latest, v), nil
}

// Touches reports whether one of the changed files belongs to the component at path.
func Touches(path string, files []string) bool {
	if path == "" {
		return len(files) > 0
	}
	for _, f := range files {
		if f == path || strings.HasPrefix(f, path+"/") {
			return true
		}
	}
	return false
}

var changeIDRule = regexp.MustCompile(`(?m)^Change-Id: (I[0-9a-f]{8,40})[ \t\r]*$`)

// ChangeID returns the Change-Id trailer of a commit message, "" if there is none. The last one counts.
func ChangeID(message string) string {
	all := changeIDRule.FindAllStringSubmatch(message, -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1][1]
}
