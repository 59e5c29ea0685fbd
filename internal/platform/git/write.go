package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// NewCommit is what a commit object is made of. Equal values give equal ids.
type NewCommit struct {
	Tree      string
	Parents   []string
	Author    Signature
	Committer Signature
	Message   string
}

// NewTag is what an annotated tag object is made of. Equal values give equal ids.
type NewTag struct {
	Name    string // without refs/tags/
	Commit  string
	Tagger  Signature
	Message string
}

// line writes the signature as it stands in an object; characters that would end a field are dropped.
func (s Signature) line() string {
	clean := func(t string) string {
		t = strings.Map(func(c rune) rune {
			if c == '<' || c == '>' || c < ' ' || c == 0x7f {
				return -1
			}
			return c
		}, t)
		return strings.Trim(t, " .,:;\"'\\")
	}
	name, email := clean(s.Name), clean(s.Email)
	if name == "" {
		name = "unknown"
	}
	if email == "" {
		email = "unknown"
	}
	return fmt.Sprintf("%s <%s> %d %s", name, email, s.Time.Unix(), s.Time.Format("-0700"))
}

// WriteCommit writes a commit object and returns its id. No ref moves.
func (r Repo) WriteCommit(ctx context.Context, c NewCommit) (string, error) {
	if !IsID(c.Tree) {
		return "", slipway.Errorf(slipway.Invalid, "%q is not a tree id", c.Tree)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "tree %s\n", c.Tree)
	for _, p := range c.Parents {
		if !IsID(p) {
			return "", slipway.Errorf(slipway.Invalid, "%q is not a commit id", p)
		}
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	fmt.Fprintf(&b, "author %s\ncommitter %s\n\n%s", c.Author.line(), c.Committer.line(), message(c.Message))
	id, err := r.line(ctx, strings.NewReader(b.String()), "hash-object", "-t", "commit", "-w", "--stdin")
	if err != nil {
		return "", r.fail(err, "cannot write a commit")
	}
	return id, nil
}

// WriteTag writes an annotated tag object and returns its id. No ref moves.
func (r Repo) WriteTag(ctx context.Context, t NewTag) (string, error) {
	if err := CheckRef("refs/tags/" + t.Name); err != nil {
		return "", err
	}
	if !IsID(t.Commit) {
		return "", slipway.Errorf(slipway.Invalid, "%q is not a commit id", t.Commit)
	}
	text := fmt.Sprintf("object %s\ntype commit\ntag %s\ntagger %s\n\n%s", t.Commit, t.Name, t.Tagger.line(), message(t.Message))
	id, err := r.line(ctx, strings.NewReader(text), "mktag")
	if err != nil {
		return "", r.fail(err, "cannot write tag %s", t.Name)
	}
	return id, nil
}

func message(s string) string {
	return strings.TrimRight(strings.ReplaceAll(s, "\x00", ""), "\n") + "\n"
}

// WriteTree writes the tree of base ("" for none) with files replaced, added, or with nil contents removed, and
// returns its id. Files are plain, mode 644; a file that was executable stays so.
func (r Repo) WriteTree(ctx context.Context, base string, files map[string][]byte) (string, error) {
	dir, err := os.MkdirTemp("", "slipway-index-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	index := []string{"GIT_INDEX_FILE=" + filepath.Join(dir, "index")}
	modes := map[string]string{}
	paths := slices.Sorted(maps.Keys(files))
	for _, p := range paths {
		if err := CheckPath(p); err != nil {
			return "", err
		}
		modes[p] = "100644"
	}
	if base == "" {
		base = EmptyTree
	}
	if base, err = r.parse(ctx, base, "tree"); err != nil {
		return "", err
	}
	if _, err := r.run(ctx, nil, index, "read-tree", base); err != nil {
		return "", r.fail(err, "cannot read tree %s", base)
	}
	if len(paths) > 0 {
		out, err := r.run(ctx, nil, nil, append([]string{"ls-tree", "-r", "-z", "--full-tree", base, "--"}, paths...)...)
		if err != nil {
			return "", r.fail(err, "cannot read tree %s", base)
		}
		for e := range strings.SplitSeq(string(out), "\x00") {
			if mode, path, ok := splitEntry(e); ok && mode == "100755" && modes[path] != "" {
				modes[path] = mode
			}
		}
	}
	var in bytes.Buffer
	for _, p := range paths {
		if files[p] == nil {
			fmt.Fprintf(&in, "0 %s\t%s\x00", Zero, p)
			continue
		}
		id, err := r.line(ctx, bytes.NewReader(files[p]), "hash-object", "-t", "blob", "-w", "--no-filters", "--stdin")
		if err != nil {
			return "", r.fail(err, "cannot write %s", p)
		}
		fmt.Fprintf(&in, "%s %s\t%s\x00", modes[p], id, p)
	}
	if _, err := r.run(ctx, &in, index, "update-index", "--add", "--replace", "-z", "--index-info"); err != nil {
		return "", slipway.Errorf(slipway.Invalid, "these files cannot be in one tree: %w", err).At(r.dir)
	}
	out, err := r.run(ctx, nil, index, "write-tree")
	if err != nil {
		return "", r.fail(err, "cannot write a tree")
	}
	return strings.TrimSpace(string(out)), nil
}

// splitEntry takes a line of `ls-tree -z` apart: "MODE TYPE ID\tPATH".
func splitEntry(e string) (mode, path string, ok bool) {
	head, path, ok := strings.Cut(e, "\t")
	mode, _, ok2 := strings.Cut(head, " ")
	return mode, path, ok && ok2
}

// Merge is the outcome of merging two commits without a work tree.
type Merge struct {
	Tree      string   // with conflict markers in it when there are conflicts
	Conflicts []string // paths that need a person, sorted
}

// MergeTree merges theirs into ours (git-merge-tree(1), the "ort" strategy) and writes the resulting tree.
func (r Repo) MergeTree(ctx context.Context, ours, theirs string) (Merge, error) {
	if !IsID(ours) || !IsID(theirs) {
		return Merge{}, slipway.Errorf(slipway.Invalid, "%q and %q are not both commit ids", ours, theirs)
	}
	out, err := r.run(ctx, nil, nil, "merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", "--allow-unrelated-histories", ours, theirs)
	if c := code(err); c != 0 && c != 1 {
		return Merge{}, r.fail(err, "cannot merge %s and %s", ours, theirs)
	}
	fields := strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	m := Merge{Tree: fields[0]}
	if code(err) == 1 {
		m.Conflicts = slices.Compact(slices.Sorted(slices.Values(fields[1:])))
	}
	if !IsID(m.Tree) {
		return Merge{}, slipway.Errorf(slipway.Internal, "git merge-tree answered %q", string(out)).At(r.dir)
	}
	return m, nil
}

// Pick returns the tree of onto with the change of one commit (against its first parent) applied: what cherry-pick
// would leave.
//
// merge-tree of git 2.39 takes no merge base, so the base is made to be the right one: a commit with the tree of onto
// and the picked commit's parent as its parent merges with the picked commit over exactly that parent.
func (r Repo) Pick(ctx context.Context, onto string, pick Commit) (Merge, error) {
	c, err := r.Commit(ctx, onto)
	if err != nil {
		return Merge{}, err
	}
	fixed := Signature{Name: "slipway", Email: "slipway", Time: time.Unix(0, 0).UTC()}
	side := NewCommit{Tree: c.Tree, Author: fixed, Committer: fixed, Message: "base of a pick"}
	if len(pick.Parents) > 0 {
		side.Parents = pick.Parents[:1]
	}
	ours, err := r.WriteCommit(ctx, side)
	if err != nil {
		return Merge{}, err
	}
	return r.MergeTree(ctx, ours, pick.ID)
}

// RefChange moves one ref from Old to New; [Zero] stands for "does not exist".
type RefChange struct{ Ref, Old, New string }

// UpdateRefs moves all of the refs or, if one of them is not at its Old, none: then the error is of kind Conflict and
// names the ref and where it is. It does not stop half-way when ctx ends.
func (r Repo) UpdateRefs(ctx context.Context, changes []RefChange) error {
	var in strings.Builder
	in.WriteString("start\n")
	for _, c := range changes {
		if err := CheckRef(c.Ref); err != nil {
			return err
		}
		if !IsID(c.Old) || !IsID(c.New) {
			return slipway.Errorf(slipway.Invalid, "%q and %q are not both object ids", c.Old, c.New).At(c.Ref)
		}
		switch {
		case c.New == Zero:
			fmt.Fprintf(&in, "delete %s %s\n", c.Ref, c.Old)
		default:
			fmt.Fprintf(&in, "update %s %s %s\n", c.Ref, c.New, c.Old)
		}
	}
	in.WriteString("prepare\ncommit\n")
	if err := ctx.Err(); err != nil {
		return err
	}
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	_, err := r.run(whole, strings.NewReader(in.String()), nil, "update-ref", "--no-deref", "--stdin")
	if err == nil {
		return nil
	}
	for _, c := range changes {
		if at, aerr := r.Ref(whole, c.Ref); aerr == nil && at != c.Old {
			return slipway.Errorf(slipway.Conflict, "%s is at %s, not at %s", c.Ref, at, c.Old).At(r.dir)
		}
	}
	return r.fail(err, "cannot move refs")
}

// Fetch copies objects and refs from url as the refspecs say, deleting refs that are gone there.
func (r Repo) Fetch(ctx context.Context, url string, refspecs ...string) error {
	args := append([]string{"fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--", url}, refspecs...)
	if _, err := r.run(ctx, nil, nil, args...); err != nil {
		if code(err) < 0 {
			return err
		}
		return slipway.Errorf(slipway.Unavailable, "cannot fetch: %w", err).At(r.dir)
	}
	return nil
}

// RemoveStaleLocks deletes what killed git processes left behind: ref locks and unfinished pushes. Only for a caller
// that knows that no git process runs on the repository. It returns what it deleted.
func (r Repo) RemoveStaleLocks() ([]string, error) {
	var gone []string
	drop := func(path string) error {
		gone = append(gone, path)
		return os.RemoveAll(path)
	}
	for _, name := range []string{"packed-refs.lock", "packed-refs.new", "HEAD.lock", "config.lock", "shallow.lock"} {
		if p := filepath.Join(r.dir, name); exists(p) {
			if err := drop(p); err != nil {
				return gone, err
			}
		}
	}
	err := filepath.WalkDir(filepath.Join(r.dir, "refs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".lock") {
			return err
		}
		return drop(path)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return gone, err
	}
	for _, pattern := range []string{"tmp_objdir-incoming-*", "incoming-*"} {
		dirs, _ := filepath.Glob(filepath.Join(r.dir, "objects", pattern))
		for _, d := range dirs {
			if err := drop(d); err != nil {
				return gone, err
			}
		}
	}
	return gone, nil
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// CommitSpec is a commit made of files: the tree of Parent with Files replaced, added, or (nil) removed. Equal specs
// give equal ids.
type CommitSpec struct {
	Parent  string // commit id; empty: a first commit
	Files   map[string][]byte
	Message string
	Author  Signature // without a name: Slipway itself
	Time    time.Time // of author and committer, kept to the second; zero: the author's
}

// CommitFiles writes the objects of a [CommitSpec] and returns the commit's id. No ref moves.
func (r Repo) CommitFiles(ctx context.Context, s CommitSpec) (string, error) {
	tree, err := r.WriteTree(ctx, s.Parent, s.Files)
	if err != nil {
		return "", err
	}
	if s.Time.IsZero() {
		s.Time = s.Author.Time
	}
	if s.Time.IsZero() {
		return "", slipway.Errorf(slipway.Invalid, "a commit needs a time").At(r.dir)
	}
	c := NewCommit{Tree: tree, Message: s.Message, Author: s.Author, Committer: Self(s.Time)}
	if c.Author.Name == "" {
		c.Author = c.Committer
	}
	c.Author.Time = s.Time.UTC()
	if s.Parent != "" {
		c.Parents = []string{s.Parent}
	}
	return r.WriteCommit(ctx, c)
}

// Self is Slipway's own signature at the given time.
func Self(at time.Time) Signature {
	return Signature{Name: "Slipway", Email: "slipway@localhost", Time: at.UTC()}
}
