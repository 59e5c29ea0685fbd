package farm

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
)

// fileTooLarge is the exit code of a shell whose command met its limit of file size (128 and SIGXFSZ).
const fileTooLarge = 128 + 25

// Judge says what a result means. said quotes the end of the log. The outputs must be in the output tree.
func Judge(ctx context.Context, st artifact.Opener, r Result, outputs []string, said string) (slipway.Outcome, string, error) {
	m, err := r.Message()
	if err != nil {
		return "", "", err
	}
	took := r.Wall.Round(10 * time.Millisecond)
	switch {
	case r.Status == execution.TimedOut:
		return slipway.Timeout, r.Reason + said, nil
	case r.Status == execution.LogTooLarge:
		return slipway.Fail, "stopped because it wrote too much to its log" + said, nil
	case r.Status == execution.OutputTooLarge, r.Status == execution.Exited && m.ExitCode == fileTooLarge:
		return slipway.Fail, "stopped because it wrote too many bytes to its folders" + said, nil
	case r.Status == execution.OutputRefused:
		return slipway.Fail, r.Reason, nil
	case r.Status != execution.Exited:
		return slipway.Infra, fmt.Sprintf("the worker told a status that nobody knows, %q", r.Status), nil
	case m.ExitCode != 0:
		return slipway.Fail, fmt.Sprintf("exit code %d after %s%s", m.ExitCode, took, said), nil
	case r.Output == "":
		return slipway.Pass, fmt.Sprintf("passed in %s", took), nil
	}
	missing, err := lacks(ctx, st, r.Output, outputs)
	if err != nil {
		return "", "", err
	}
	if len(missing) > 0 {
		return slipway.Fail, "did not make the declared outputs: $OUT/" + strings.Join(missing, ", $OUT/"), nil
	}
	return slipway.Pass, fmt.Sprintf("built in %s", took), nil
}

// lacks returns those of the paths that are not in the tree.
func lacks(ctx context.Context, st artifact.Opener, tree artifact.Digest, paths []string) ([]string, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	entries, err := artifact.ListTree(ctx, st, tree)
	if err != nil {
		return nil, err
	}
	there := map[string]artifact.Entry{}
	for _, e := range entries {
		there[e.Path] = e
	}
	var missing []string
	for _, p := range paths {
		if !resolves(there, strings.Trim(p, "/")) {
			missing = append(missing, p)
		}
	}
	return missing, nil
}

// maxLinks is how many symbolic links are followed on the way to an output.
const maxLinks = 40

// resolves reports whether a path leads to something, symbolic links followed.
func resolves(there map[string]artifact.Entry, p string) bool {
	at, left := "", strings.Split(path.Clean(p), "/")
	for links := 0; len(left) > 0; {
		next := path.Join(at, left[0])
		if next == "." || next == "" {
			at, left = "", left[1:]
			continue
		}
		e, ok := there[next]
		switch {
		case !ok:
			return false
		case e.Target == "":
			at, left = next, left[1:]
		default:
			if links++; links > maxLinks {
				return false
			}
			left = append(strings.Split(path.Join(at, e.Target), "/"), left[1:]...)
			at = ""
		}
	}
	return true
}
