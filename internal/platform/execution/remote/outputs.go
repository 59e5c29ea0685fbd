package remote

import (
	"context"
	"errors"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
)

// fetchOutputs puts everything that a result refers to into the store. What the cluster kept and Slipway would not is refused.
func (r *run) fetchOutputs(ctx context.Context, st artifact.Store, res *execution.Result) error {
	left := r.req.Limits.OutputBytes
	if left <= 0 {
		left = 8 << 30
	}
	refuse := func(s execution.Status, err error) {
		res.Status, res.Reason = s, "its output cannot be kept: "+err.Error()
		res.Action = &repb.ActionResult{ExitCode: res.Action.ExitCode, ExecutionMetadata: res.Action.ExecutionMetadata,
			StdoutRaw: res.Action.StdoutRaw, StdoutDigest: res.Action.StdoutDigest, StderrRaw: res.Action.StderrRaw, StderrDigest: res.Action.StderrDigest}
	}
	var said []execution.Blob
	for _, d := range []*repb.Digest{res.Action.StdoutDigest, res.Action.StderrDigest} {
		if d != nil {
			b, err := blob(d)
			if err != nil {
				return err
			}
			said = append(said, b)
		}
	}
	if err := r.Fetch(ctx, st, said); err != nil || res.Status != execution.Exited {
		return err
	}
	files, err := r.wanted(ctx, st, res)
	if slipway.Is(err, slipway.Invalid) {
		refuse(execution.OutputRefused, err)
		return nil
	}
	if err != nil {
		return err
	}
	for _, b := range files {
		left -= b.Size
	}
	if left < 0 {
		refuse(execution.OutputTooLarge, slipway.Errorf(slipway.TooLarge, "the outputs have too many bytes"))
		return nil
	}
	return r.Fetch(ctx, st, files)
}

// wanted fetches the directories of a result and lists the files to be fetched.
func (r *run) wanted(ctx context.Context, st artifact.Store, res *execution.Result) (files []execution.Blob, err error) {
	m := res.Action
	paths := map[string]string{}
	for _, o := range r.action.Outputs {
		paths[o.Declared] = o.Path
	}
	//lint:ignore SA1019 what clusters before version 2.1 of the API send
	for _, links := range [][]*repb.OutputSymlink{m.OutputSymlinks, m.OutputFileSymlinks, m.OutputDirectorySymlinks} {
		for _, l := range links {
			if err := artifact.CheckLink(paths[l.Path], l.Target); err != nil {
				return nil, err
			}
		}
	}
	for _, f := range m.OutputFiles {
		b, err := blob(f.Digest)
		if err != nil {
			return nil, err
		}
		files = append(files, b)
	}
	for _, d := range m.OutputDirectories {
		root, err := r.directory(ctx, st, d)
		if err != nil {
			return nil, err
		}
		if d.RootDirectoryDigest == nil {
			size, err := st.Stat(ctx, root)
			if err != nil {
				return nil, err
			}
			d.RootDirectoryDigest = artifact.Proto(root, size)
		}
		entries, err := artifact.ListTree(ctx, st, root)
		if err != nil {
			var e *slipway.Error
			if errors.As(err, &e) {
				err = e.At(paths[d.Path] + e.Where)
			}
			return nil, err
		}
		for _, e := range entries {
			if e.Digest != "" && !e.Dir {
				files = append(files, execution.Blob{Digest: e.Digest, Size: e.Size})
			}
		}
		if len(r.action.Outputs) == 1 {
			res.Output = root
		}
	}
	return files, nil
}

// directory fetches the messages of an output directory and returns its digest.
func (r *run) directory(ctx context.Context, st artifact.Store, d *repb.OutputDirectory) (artifact.Digest, error) {
	if d.TreeDigest != nil {
		b, err := blob(d.TreeDigest)
		if err != nil {
			return "", err
		}
		if err := r.Fetch(ctx, st, []execution.Blob{b}); err != nil {
			return "", err
		}
		t, err := execution.ReadTree(ctx, st, b.Digest)
		if err != nil {
			return "", err
		}
		return execution.PutDirectories(ctx, st, t)
	}
	root, err := blob(d.RootDirectoryDigest)
	if err != nil {
		return "", err
	}
	// Level by level, each directory once.
	seen := map[artifact.Digest]bool{root.Digest: true}
	for level := []execution.Blob{root}; len(level) > 0; {
		if err := r.Fetch(ctx, st, level); err != nil {
			return "", err
		}
		var next []execution.Blob
		for _, b := range level {
			m, _, err := artifact.ReadDirectory(ctx, st, b.Digest, d.Path)
			if err != nil {
				return "", err
			}
			for _, sub := range m.Directories {
				b, err := blob(sub.Digest)
				if err != nil {
					return "", err
				}
				if !seen[b.Digest] {
					seen[b.Digest] = true
					next = append(next, b)
				}
			}
		}
		level = next
	}
	return root.Digest, nil
}

func blob(d *repb.Digest) (execution.Blob, error) {
	digest, size, err := artifact.FromProto(d)
	return execution.Blob{Digest: digest, Size: size}, err
}
