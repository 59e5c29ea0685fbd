package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// Export writes the folder at path in rev into dir, which is made if it is missing, and returns the id of its tree.
// Equal ids mean equal folders. Files get mode 644 or 755; symbolic links are kept as they are and never followed;
// a submodule becomes an empty folder. A tree that names something outside itself is refused.
func (r Repo) Export(ctx context.Context, rev, dir, target string) (string, error) {
	tree, err := r.Tree(ctx, rev, dir)
	if err != nil {
		return "", err
	}
	entries, few, err := r.entries(ctx, tree)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(target)
	if err != nil {
		return "", err
	}
	defer root.Close()
	var files []treeEntry
	for _, e := range entries {
		switch e.kind {
		case "tree", "commit":
			if err := root.Mkdir(e.path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return "", err
			}
		default:
			files = append(files, e)
		}
	}
	if few {
		return tree, r.ask(ctx, func(x *reader) error { return x.files(root, files) })
	}
	return tree, r.writeFiles(ctx, root, files)
}

// entries lists a tree, folders before what is in them. They are few when a kept process has read them.
func (r Repo) entries(ctx context.Context, tree string) (all []treeEntry, few bool, err error) {
	if r.kept(tree) {
		err := r.ask(ctx, func(x *reader) (err error) { all, few, err = x.list(tree); return err })
		if err != nil || few {
			return all, few, err
		}
	}
	out, err := r.run(ctx, nil, nil, "ls-tree", "-r", "-t", "-z", "--full-tree", tree)
	if err != nil {
		return nil, false, r.fail(err, "cannot list tree %s", tree)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if line == "" {
			continue
		}
		e, err := parseEntry(line)
		if err != nil {
			return nil, false, slipway.Errorf(slipway.Invalid, "tree %s cannot be written out: %w", tree, err).At(r.dir)
		}
		all = append(all, e)
	}
	return all, false, nil
}

type treeEntry struct{ mode, kind, id, path string }

func parseEntry(line string) (treeEntry, error) {
	head, name, ok := strings.Cut(line, "\t")
	f := strings.Fields(head)
	if !ok || len(f) != 3 {
		return treeEntry{}, fmt.Errorf("%q is no entry", line)
	}
	for p := range strings.SplitSeq(name, "/") {
		if err := checkEntry(p); err != nil {
			return treeEntry{}, fmt.Errorf("entry %q: %w", name, err)
		}
	}
	return treeEntry{f[0], f[1], f[2], name}, nil
}

// writeFiles streams the blobs of all entries through one git process into root.
func (r Repo) writeFiles(ctx context.Context, root *os.Root, files []treeEntry) error {
	if len(files) == 0 {
		return nil
	}
	var ids strings.Builder
	for _, e := range files {
		ids.WriteString(e.id + "\n")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := r.Command(ctx, Environ(), "cat-file", "--batch", "--buffer")
	cmd.Stdin = strings.NewReader(ids.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var written error
	err = wait(ctx, cmd, "cat-file", func() error {
		if err := cmd.Start(); err != nil {
			return err
		}
		rd := bufio.NewReaderSize(out, 1<<16)
		for _, e := range files {
			if written = writeFile(root, rd, e); written != nil {
				cancel()
				break
			}
		}
		return cmd.Wait()
	})
	if written != nil {
		return fmt.Errorf("cannot write out %s: %w", r.dir, written)
	}
	if err != nil {
		return r.fail(err, "cannot read the files of a tree")
	}
	return nil
}

func writeFile(root *os.Root, rd *bufio.Reader, e treeEntry) error {
	head, err := rd.ReadString('\n')
	if err != nil {
		return err
	}
	f := strings.Fields(head)
	if len(f) != 3 || f[1] != "blob" {
		return slipway.Errorf(slipway.Internal, "blob %s is missing", e.id).At(e.path)
	}
	size, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		return err
	}
	body := io.LimitReader(rd, size)
	if e.mode == "120000" {
		to, err := io.ReadAll(io.LimitReader(body, 4097))
		if err != nil {
			return err
		}
		if len(to) == 0 || len(to) > 4096 {
			return slipway.Errorf(slipway.Invalid, "a symbolic link with a target of %d bytes", size).At(e.path)
		}
		if err := root.Symlink(string(to), e.path); err != nil {
			return err
		}
	} else {
		perm := fs.FileMode(0o644)
		if e.mode == "100755" {
			perm = 0o755
		}
		w, err := root.OpenFile(e.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, body)
		if err == nil {
			err = w.Chmod(perm) // whatever the umask is
		}
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path.Base(e.path), err)
		}
	}
	_, err = rd.Discard(1) // the line end after the object
	return err
}
