package debian

import (
	"compress/gzip"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"slipway.dev/slipway/internal/slipway"
)

// aptHelper decompresses whatever apt compresses its lists with.
const aptHelper = "/usr/lib/apt/apt-helper"

// Open reads apt's lists in dir: /var/lib/apt/lists, another folder of that kind, or a root that has one. The architecture is that of the lists of
// packages, or arch where there are several. A list that is compressed otherwise than with gzip needs apt's own helper.
func Open(ctx context.Context, dir, arch string) (*Archive, error) {
	if sub := filepath.Join(dir, "var/lib/apt/lists"); isDir(sub) {
		dir = sub
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, slipway.Errorf(slipway.NotFound, "read the lists of apt: %w", err).Try("name the folder of apt's lists, such as /var/lib/apt/lists")
	}
	var packages, sources []List
	arches := map[string]bool{}
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), ".lz4")
		name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".xz"), ".zst"), ".bz2")
		path := filepath.Join(dir, e.Name())
		switch {
		case strings.HasSuffix(name, "_Sources"):
			sources = append(sources, List{Name: path})
		case strings.HasSuffix(name, "_Packages"):
			of := strings.TrimSuffix(name, "_Packages")
			_, of, binary := strings.Cut(of[strings.LastIndexByte(of, '_')+1:], "binary-")
			if binary && arch != "" && of != arch && of != "all" {
				continue
			}
			if binary && of != "all" {
				arches[of] = true
			}
			packages = append(packages, List{Name: path})
		}
	}
	switch {
	case len(packages) == 0:
		return nil, slipway.Errorf(slipway.NotFound, "there is no list of packages").At(dir).Try("apt-get update")
	case len(arches) > 1:
		return nil, slipway.Errorf(slipway.Invalid, "there are lists of %d architectures", len(arches)).At(dir).Try("say which one, with --arch")
	case arch == "" && len(arches) == 0:
		return nil, slipway.Errorf(slipway.Invalid, "the names of the lists do not tell the architecture").At(dir).Try("say it, with --arch")
	}
	for only := range arches {
		arch = only
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	for _, lists := range [][]List{sources, packages} { // the largest first
		for i := range lists {
			work.Go(func() (err error) {
				lists[i].Text, err = text(ctx, lists[i].Name)
				return err
			})
		}
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	return Parse(arch, packages, sources)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// text reads a file as apt keeps it.
func text(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", slipway.Errorf(slipway.Unavailable, "read a list: %w", err)
	}
	defer f.Close()
	size := 0
	if info, err := f.Stat(); err == nil {
		size = int(info.Size())
	}
	var b strings.Builder
	switch filepath.Ext(path) {
	case ".gz":
		var z *gzip.Reader
		if z, err = gzip.NewReader(f); err == nil {
			b.Grow(5 * size)
			_, err = io.Copy(&b, z)
		}
	case ".lz4", ".xz", ".zst", ".bz2":
		b.Grow(5 * size / 2)
		var bad strings.Builder
		cmd := exec.CommandContext(ctx, aptHelper, "cat-file", path)
		cmd.Stdout, cmd.Stderr = &b, &bad
		if err = cmd.Run(); err != nil && bad.Len() > 0 {
			return "", slipway.Errorf(slipway.Invalid, "%s", strings.TrimSpace(bad.String())).At(path)
		}
	default:
		b.Grow(size)
		_, err = io.Copy(&b, f)
	}
	if err != nil {
		return "", slipway.Errorf(slipway.Invalid, "read a list: %w", err).At(path)
	}
	return b.String(), nil
}
