package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Repository is a git repository that is written from scratch.
type Repository struct{ dir string }

// newRepository makes an empty one at dir, with branch main.
func newRepository(ctx context.Context, dir string) (*Repository, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	_, err := run(ctx, dir, nil, "git", "init", "--quiet", "--initial-branch=main")
	return &Repository{dir}, err
}

// fill replaces the working tree by copies of the folders, a later one over the ones before, and the given files.
func (r *Repository) fill(folders []string, files map[string]string) error {
	old, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	for _, e := range old {
		if e.Name() != ".git" {
			if err := os.RemoveAll(filepath.Join(r.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for _, folder := range folders {
		if err := copyTree(folder, r.dir); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// commit commits the working tree; a tag may be empty.
func (r *Repository) commit(ctx context.Context, message, tag string, at time.Time) error {
	when := at.UTC().Format(time.RFC3339)
	env := []string{
		"GIT_AUTHOR_NAME=Upstream", "GIT_AUTHOR_EMAIL=upstream@example.org", "GIT_AUTHOR_DATE=" + when,
		"GIT_COMMITTER_NAME=Upstream", "GIT_COMMITTER_EMAIL=upstream@example.org", "GIT_COMMITTER_DATE=" + when,
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
	}
	steps := [][]string{
		{"add", "--all", "--force"}, // --force: a module's own .gitignore has no say in what was released
		{"commit", "--quiet", "--message", message},
	}
	if tag != "" {
		steps = append(steps, []string{"tag", "--annotate", "--message", message, tag})
	}
	for _, args := range steps {
		if _, err := run(ctx, r.dir, env, "git", args...); err != nil {
			return err
		}
	}
	return nil
}

// history writes a line's repository: main ends at the version to begin with, next goes on from there.
func history(ctx context.Context, dir, overlay string, line Line, got map[string]Module) error {
	repo, err := newRepository(ctx, dir)
	if err != nil {
		return err
	}
	versions := append(append([]string{}, line.Versions...), line.Next...)
	for i, version := range versions {
		m := got[line.Module+"@"+version]
		if m.Error != "" {
			continue
		}
		if i == len(line.Versions) {
			if _, err := run(ctx, dir, nil, "git", "checkout", "--quiet", "-b", "next"); err != nil {
				return err
			}
		}
		if err := repo.fill([]string{m.Dir, overlay}, map[string]string{"VERSION": version + "\n"}); err != nil {
			return err
		}
		tag := "v" + version
		if i >= len(line.Versions) {
			tag = "" // made when the upgrade lands
		}
		message := fmt.Sprintf("%s %s\n\nThe Go module %s at v%s, as released.", line.Name, version, line.Module, version)
		if err := repo.commit(ctx, message, tag, m.Time); err != nil {
			return err
		}
	}
	_, err = run(ctx, dir, nil, "git", "checkout", "--quiet", "main")
	return err
}

// copyTree copies the files below from into to, writable; a file that is there is replaced.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case !d.Type().IsRegular():
			return nil // a module has only regular files
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(string(data), "#!") {
			mode = 0o755 // a module's zip file has no mode bits
		}
		return os.WriteFile(target, data, mode)
	})
}
