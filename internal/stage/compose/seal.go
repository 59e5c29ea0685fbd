package compose

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// seal makes a folder immutable: every file is on disk and named with its digest in SHA256SUMS, and nothing may be
// written any more. Links have no place in a compose.
func seal(dir string) error {
	lines, err := sums(dir, true)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, sumsFile)
	if err := os.WriteFile(name, []byte(strings.Join(lines, "")), 0o644); err != nil {
		return err
	}
	if err := syncDir(name); err != nil {
		return err
	}
	var dirs []string
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, p)
			return nil
		}
		return os.Chmod(p, 0o444)
	})
	if err != nil {
		return err
	}
	slices.Reverse(dirs) // inner ones first
	for _, p := range dirs {
		if err := errors.Join(syncDir(p), os.Chmod(p, 0o555)); err != nil {
			return err
		}
	}
	return nil
}

// sums returns a line of SHA256SUMS, as sha256sum(1) writes it, for every file but that one, sorted by path.
func sums(dir string, sync bool) ([]string, error) {
	var lines []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == sumsFile {
			return err
		}
		if !d.Type().IsRegular() {
			return slipway.Errorf(slipway.Internal, "%s is not a plain file", rel)
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return err
		}
		lines = append(lines, hex.EncodeToString(sum.Sum(nil))+"  "+filepath.ToSlash(rel)+"\n")
		if sync {
			return f.Sync()
		}
		return nil
	})
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[64:], b[64:]) })
	return lines, err
}

// check compares a folder with its SHA256SUMS and says every difference.
func check(dir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return []string{sumsFile + " is gone"}, nil
	}
	if err != nil {
		return nil, err
	}
	want := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  "); ok {
			want[name] = sum
		}
	}
	lines, err := sums(dir, false)
	var odd *slipway.Error
	if errors.As(err, &odd) {
		return []string{odd.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	var problems []string
	for _, line := range lines {
		sum, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		switch w, ok := want[name]; {
		case !ok:
			problems = append(problems, name+" was added")
		case w != sum:
			problems = append(problems, name+" was changed")
		}
		delete(want, name)
	}
	for name := range want {
		problems = append(problems, name+" is gone")
	}
	slices.Sort(problems)
	return problems, nil
}

// Verification is what [Service.Verify] found.
type Verification struct {
	ID       string   `json:"id"`
	OK       bool     `json:"ok"`
	Files    int      `json:"files"`
	Problems []string `json:"problems"` // one line for each file that is not as it was
}

// Verify compares every file of a finished compose with what was recorded when it was finished.
func (s *Service) Verify(ctx context.Context, id string) (Verification, error) {
	c, err := s.Compose(ctx, id)
	if err != nil {
		return Verification{}, err
	}
	if c.State != Finished {
		return Verification{}, slipway.Errorf(slipway.Conflict, "compose %s is %s: %s", id, c.State, c.Reason).Try("wait until it is finished")
	}
	v := Verification{ID: id, Files: c.Files, Problems: []string{}}
	dir := filepath.Join(s.cfg.Dir, id)
	text, err := os.ReadFile(filepath.Join(dir, sumsFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.Problems = append(v.Problems, sumsFile+" is gone")
		return v, nil
	case err != nil:
		return v, err
	}
	if got := digest(text); got != c.Digest {
		v.Problems = append(v.Problems, fmt.Sprintf("%s was changed: it is %s, and %s was recorded", sumsFile, got, c.Digest))
	}
	problems, err := check(dir)
	v.Problems = append(v.Problems, problems...)
	v.OK = err == nil && len(v.Problems) == 0
	return v, err
}

// measure counts the files and bytes of a folder.
func measure(dir string) (files int, size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files, size = files+1, size+info.Size()
		return nil
	})
	return files, size, err
}

// remove deletes a folder, also a sealed one. A missing one is not an error.
func remove(dir string) error {
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return os.Chmod(p, 0o755)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}

// syncDir brings a file or a folder's entries to the disk.
func syncDir(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
