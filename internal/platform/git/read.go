package git

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// MaxFile is the size in bytes of the largest file that [Repo.File] returns.
const MaxFile = 32 << 20

// Signature says who and when, to the second, with the zone that the author wrote.
type Signature struct {
	Name  string
	Email string
	Time  time.Time
}

// Commit is a parsed commit object.
type Commit struct {
	ID        string
	Tree      string
	Parents   []string
	Author    Signature
	Committer Signature
	Message   string // as written, with its line ends
}

// Subject is the first line of the message.
func (c Commit) Subject() string {
	s, _, _ := strings.Cut(strings.TrimLeft(c.Message, "\n"), "\n")
	return strings.TrimSpace(s)
}

// Ref is a ref and what it points at.
type Ref struct {
	Name   string
	ID     string
	Commit string // ID, or what an annotated tag points at
}

// Init makes an empty bare repository at dir whose HEAD names branch. A repository that is there already is kept.
func Init(ctx context.Context, dir, branch string) (Repo, error) {
	if err := CheckRef("refs/heads/" + branch); err != nil {
		return Repo{}, err
	}
	r := Repo{dir: dir}
	cmd := r.Command(ctx, Environ(), "init", "--quiet", "--bare", "--template=", "--initial-branch="+branch, "--", dir)
	cmd.Dir = ""
	if err := wait(ctx, cmd, "init", cmd.Run); err != nil {
		return Repo{}, r.fail(err, "cannot make the repository")
	}
	return r, nil
}

// Resolve returns the id of the commit that rev names: a branch, a tag, an id or its beginning.
func (r Repo) Resolve(ctx context.Context, rev string) (string, error) {
	return r.parse(ctx, rev, "commit")
}

func (r Repo) parse(ctx context.Context, rev, kind string) (string, error) {
	if err := checkRev(rev); err != nil {
		return "", err
	}
	if r.kept(rev) {
		o, err := r.look(ctx, rev+"^{"+kind+"}")
		if err == nil && o.id == "" {
			err = slipway.Errorf(slipway.NotFound, "there is no revision %q", rev).At(r.dir)
		}
		return o.id, err
	}
	id, err := r.line(ctx, nil, "rev-parse", "--verify", "--quiet", "--end-of-options", rev+"^{"+kind+"}")
	if code(err) > 0 {
		return "", slipway.Errorf(slipway.NotFound, "there is no revision %q", rev).At(r.dir)
	}
	return id, err
}

// look asks a kept process for an object.
func (r Repo) look(ctx context.Context, expr string) (o object, err error) {
	err = r.ask(ctx, func(x *reader) error {
		all, err := x.info(expr)
		if err == nil {
			o = all[0]
		}
		return err
	})
	return o, err
}

// stat looks at the object that expr names: "REV:PATH", or an id. The error is NotFound if there is none.
func (r Repo) stat(ctx context.Context, expr string) (id, kind string, size int64, err error) {
	if tree, _, _ := strings.Cut(expr, ":"); r.kept(tree) {
		o, err := r.look(ctx, expr)
		if err == nil && o.id == "" {
			err = slipway.Errorf(slipway.NotFound, "there is no %q", expr).At(r.dir)
		}
		return o.id, o.kind, o.size, err
	}
	out, err := r.line(ctx, strings.NewReader(expr+"\n"), "cat-file", "--batch-check")
	if err != nil {
		return "", "", 0, r.fail(err, "cannot look at %q", expr)
	}
	f := strings.Fields(out)
	if len(f) != 3 || !IsID(f[0]) {
		return "", "", 0, slipway.Errorf(slipway.NotFound, "there is no %q", expr).At(r.dir)
	}
	size, err = strconv.ParseInt(f[2], 10, 64)
	return f[0], f[1], size, err
}

// entry looks at path in rev, and says clearly which of the two does not exist.
func (r Repo) entry(ctx context.Context, rev, path string) (id, kind string, size int64, err error) {
	if err := CheckPath(path); err != nil {
		return "", "", 0, err
	}
	tree, err := r.parse(ctx, rev, "tree")
	if err != nil {
		return "", "", 0, err
	}
	if path == "" {
		return tree, "tree", 0, nil
	}
	id, kind, size, err = r.stat(ctx, tree+":"+path)
	if slipway.Is(err, slipway.NotFound) {
		err = slipway.Errorf(slipway.NotFound, "there is no %s in %s", path, rev).At(r.dir)
	}
	return id, kind, size, err
}

// Tree returns the id of the folder at path in rev; the empty path is the whole tree.
func (r Repo) Tree(ctx context.Context, rev, path string) (string, error) {
	id, kind, _, err := r.entry(ctx, rev, path)
	if err == nil && kind != "tree" {
		err = slipway.Errorf(slipway.Invalid, "%s in %s is a file, not a folder", path, rev).At(r.dir)
	}
	return id, err
}

// File returns the bytes of the file at path in rev (of a symbolic link: its target). At most [MaxFile] bytes.
func (r Repo) File(ctx context.Context, rev, path string) ([]byte, error) {
	id, kind, size, err := r.entry(ctx, rev, path)
	switch {
	case err != nil:
		return nil, err
	case kind != "blob":
		return nil, slipway.Errorf(slipway.Invalid, "%s in %s is a folder, not a file", path, rev).At(r.dir)
	case size > MaxFile:
		return nil, slipway.Errorf(slipway.TooLarge, "%s in %s has %d bytes, the limit is %d", path, rev, size, MaxFile).At(r.dir)
	}
	var data []byte
	if r.kept(id) {
		err = r.ask(ctx, func(x *reader) (err error) { _, data, err = x.contents(id); return err })
	} else {
		data, err = r.run(ctx, nil, nil, "cat-file", "blob", id)
	}
	if err != nil {
		return nil, r.fail(err, "cannot read %s in %s", path, rev)
	}
	return data, nil
}

// Commit returns the commit that rev names.
func (r Repo) Commit(ctx context.Context, rev string) (Commit, error) {
	id, err := r.Resolve(ctx, rev)
	if err != nil {
		return Commit{}, err
	}
	cs, err := r.commits(ctx, []string{id})
	if err != nil {
		return Commit{}, err
	}
	return cs[0], nil
}

// Log returns the commits that to reaches and from does not, newest first; an empty from excludes nothing, a path
// keeps those that changed something below it or below one of the others (none when it is empty: that is all), and limit (0: none) is how many at most.
func (r Repo) Log(ctx context.Context, from, to, path string, limit int, others ...string) ([]Commit, error) {
	if path == "" {
		others = nil // all of the repository
	}
	for _, p := range append([]string{path}, others...) {
		if err := CheckPath(p); err != nil {
			return nil, err
		}
	}
	end, err := r.Resolve(ctx, to)
	if err != nil {
		return nil, err
	}
	if from == "" && limit > 0 && len(others) == 0 && r.kept(end) {
		var found []Commit
		known := false
		err := r.ask(ctx, func(x *reader) (err error) { found, known, err = x.touched(end, path, limit); return err })
		if err != nil || known {
			return found, err
		}
	}
	args := []string{"rev-list", "--topo-order"}
	if limit > 0 {
		args = append(args, "--max-count="+strconv.Itoa(limit))
	}
	args = append(args, end)
	if from != "" && from != Zero {
		start, err := r.Resolve(ctx, from)
		if err != nil {
			return nil, err
		}
		args = append(args, "^"+start)
	}
	args = append(args, "--")
	if path != "" {
		args = append(append(args, path), others...)
	}
	out, err := r.line(ctx, nil, args...)
	if err != nil {
		return nil, r.fail(err, "cannot list the commits from %q to %q", from, to)
	}
	if out == "" {
		return nil, nil
	}
	return r.commits(ctx, strings.Split(out, "\n"))
}

// commits reads and parses commit objects.
func (r Repo) commits(ctx context.Context, ids []string) ([]Commit, error) {
	if len(ids) <= walked && r.kept(ids...) {
		return r.fewCommits(ctx, ids)
	}
	out, err := r.run(ctx, strings.NewReader(strings.Join(ids, "\n")+"\n"), nil, "cat-file", "--batch")
	if err != nil {
		return nil, r.fail(err, "cannot read commits")
	}
	rd := bufio.NewReader(bytes.NewReader(out))
	cs := make([]Commit, 0, len(ids))
	for range ids {
		head, err := rd.ReadString('\n')
		if err != nil {
			return nil, slipway.Errorf(slipway.Internal, "git cat-file ended early: %w", err).At(r.dir)
		}
		f := strings.Fields(head)
		if len(f) != 3 || f[1] != "commit" {
			return nil, slipway.Errorf(slipway.NotFound, "not a commit: %s", strings.TrimSpace(head)).At(r.dir)
		}
		n, _ := strconv.Atoi(f[2])
		raw := make([]byte, n+1) // the object and a line end
		if _, err := io.ReadFull(rd, raw); err != nil {
			return nil, slipway.Errorf(slipway.Internal, "git cat-file ended early: %w", err).At(r.dir)
		}
		c, err := parseCommit(f[0], string(raw[:n]))
		if err != nil {
			return nil, slipway.Errorf(slipway.Internal, "commit %s cannot be read: %w", f[0], err).At(r.dir)
		}
		cs = append(cs, c)
	}
	return cs, nil
}

// fewCommits is [Repo.commits] by a kept process.
func (r Repo) fewCommits(ctx context.Context, ids []string) ([]Commit, error) {
	var cs []Commit
	var bad error
	err := r.ask(ctx, func(x *reader) error {
		cs, bad = nil, nil
		for _, id := range ids {
			o, text, err := x.contents(id)
			if err != nil {
				return err
			}
			if o.kind != "commit" {
				bad = slipway.Errorf(slipway.NotFound, "not a commit: %s %s", id, o.kind).At(r.dir)
				return nil
			}
			c, err := parseCommit(o.id, string(text))
			if err != nil {
				bad = slipway.Errorf(slipway.Internal, "commit %s cannot be read: %w", o.id, err).At(r.dir)
				return nil
			}
			cs = append(cs, c)
		}
		return nil
	})
	if err == nil {
		err = bad
	}
	return cs, err
}

// parseCommit reads a commit object as described in gitformat-commit; headers that it does not know are skipped.
func parseCommit(id, raw string) (Commit, error) {
	c := Commit{ID: id}
	head, message, _ := strings.Cut(raw, "\n\n")
	c.Message = message
	for l := range strings.SplitSeq(head, "\n") {
		name, value, _ := strings.Cut(l, " ")
		var err error
		switch name {
		case "tree":
			c.Tree = value
		case "parent":
			c.Parents = append(c.Parents, value)
		case "author":
			c.Author, err = parseSignature(value)
		case "committer":
			c.Committer, err = parseSignature(value)
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// parseSignature reads "Name <email> 1700000000 +0100", leniently as git does: a broken time is the epoch.
func parseSignature(s string) (Signature, error) {
	name, rest, ok := strings.Cut(s, "<")
	if !ok {
		return Signature{}, fmt.Errorf("%q is no signature", s)
	}
	email, when, ok := strings.Cut(rest, ">")
	if !ok {
		return Signature{}, fmt.Errorf("%q is no signature", s)
	}
	sig := Signature{Name: strings.TrimSpace(name), Email: email, Time: time.Unix(0, 0).UTC()}
	f := strings.Fields(when)
	if len(f) > 0 {
		sec, _ := strconv.ParseInt(f[0], 10, 64)
		sig.Time = time.Unix(sec, 0).UTC()
	}
	if len(f) > 1 && len(f[1]) == 5 {
		if hhmm, err := strconv.Atoi(f[1][1:]); err == nil {
			off := (hhmm/100*60 + hhmm%100) * 60
			if f[1][0] == '-' {
				off = -off
			}
			sig.Time = sig.Time.In(time.FixedZone(f[1], off))
		}
	}
	return sig, nil
}

// Refs returns the refs below the given prefixes ("refs/heads/"), all refs without one, in the order of their names.
func (r Repo) Refs(ctx context.Context, prefixes ...string) ([]Ref, error) {
	args := append([]string{"for-each-ref", "--format=%(refname)%00%(objectname)%00%(*objectname)", "--end-of-options"}, prefixes...)
	for _, p := range prefixes {
		if !strings.HasPrefix(p, "refs/") {
			return nil, slipway.Errorf(slipway.Invalid, "%q is no beginning of a ref name", p).Try("start it with refs/")
		}
	}
	out, err := r.line(ctx, nil, args...)
	if err != nil {
		return nil, r.fail(err, "cannot list the refs")
	}
	var refs []Ref
	for l := range strings.SplitSeq(out, "\n") {
		if f := strings.Split(l, "\x00"); len(f) == 3 {
			ref := Ref{Name: f[0], ID: f[1], Commit: f[2]}
			if ref.Commit == "" {
				ref.Commit = ref.ID
			}
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// Ref returns what the full ref name points at, [Zero] if there is no such ref.
func (r Repo) Ref(ctx context.Context, ref string) (string, error) {
	if err := CheckRef(ref); err != nil {
		return "", err
	}
	id, err := r.line(ctx, nil, "rev-parse", "--verify", "--quiet", "--end-of-options", ref)
	if code(err) > 0 {
		return Zero, nil
	}
	return id, err
}

// IsAncestor reports whether every commit of old is also in new: whether moving a ref from old to new loses nothing.
func (r Repo) IsAncestor(ctx context.Context, old, new string) (bool, error) {
	if !IsID(old) || !IsID(new) {
		return false, slipway.Errorf(slipway.Invalid, "%q and %q are not both commit ids", old, new)
	}
	_, err := r.run(ctx, nil, nil, "merge-base", "--is-ancestor", old, new)
	switch code(err) {
	case 0:
		return true, nil
	case 1:
		return false, nil
	}
	return false, r.fail(err, "cannot compare %s and %s", old, new)
}

// MergeBase returns the best common ancestor of two commits, "" if they have none.
func (r Repo) MergeBase(ctx context.Context, a, b string) (string, error) {
	if !IsID(a) || !IsID(b) {
		return "", slipway.Errorf(slipway.Invalid, "%q and %q are not both commit ids", a, b)
	}
	id, err := r.line(ctx, nil, "merge-base", a, b)
	if code(err) == 1 {
		return "", nil
	}
	if err != nil {
		return "", r.fail(err, "cannot find where %s and %s part", a, b)
	}
	return id, nil
}

// Changed returns the paths that differ between two trees or commits, sorted; [EmptyTree] serves as "nothing".
func (r Repo) Changed(ctx context.Context, a, b string) ([]string, error) {
	if !IsID(a) || !IsID(b) {
		return nil, slipway.Errorf(slipway.Invalid, "%q and %q are not both object ids", a, b)
	}
	out, err := r.run(ctx, nil, nil, "diff-tree", "-r", "-z", "--no-renames", "--name-only", a, b)
	if err != nil {
		return nil, r.fail(err, "cannot compare %s and %s", a, b)
	}
	if len(out) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"), nil
}
