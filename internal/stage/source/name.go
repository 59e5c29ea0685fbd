package source

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// Namespaces are the folders that repositories can be in.
var namespaces = []string{"components", "modules", "products"}

var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9._+-]{0,98}[a-z0-9+])?$`)

// CheckName returns an error of kind Invalid unless name is NAMESPACE/NAME with a known namespace and a name of lower-case
// letters, digits and "._+-". Such a name is safe as a path, in a URL and on a command line.
func CheckName(name string) error {
	fail := func(why string) error {
		return slipway.Errorf(slipway.Invalid, "%q is not the name of a repository: %s", name, why).
			Try("write it like components/libwire")
	}
	namespace, rest, ok := strings.Cut(name, "/")
	switch {
	case !ok || !slices.Contains(namespaces, namespace):
		return fail(fmt.Sprintf("it must be in one of %s/", strings.Join(namespaces, "/, ")))
	case !nameRule.MatchString(rest):
		return fail(`after the namespace come 1 to 100 lower-case letters, digits and "._+-", beginning and ending with a letter or digit`)
	case strings.Contains(rest, ".."), strings.HasSuffix(rest, ".git"), strings.HasSuffix(rest, ".lock"):
		return fail(`it holds ".." or ends in ".git" or ".lock"`)
	}
	return nil
}

func (s *Service) path(repo string) string {
	return filepath.Join(s.dir, filepath.FromSlash(repo)+".git")
}
