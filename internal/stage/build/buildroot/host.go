package buildroot

import (
	"bufio"
	"context"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// toolPath is where programs are looked for.
var toolPath = []string{"/usr/local/go/bin", "/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/bin", "/sbin"}

// libraryPath is where the loader looks of itself, most common first; ld.so(8).
var libraryPath = []string{
	"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib",
	"/usr/local/lib/x86_64-linux-gnu", "/usr/local/lib",
}

// gathering is what of the host goes into a buildroot.
type gathering struct {
	files map[string]fs.FileInfo // by path without links
	links map[string]string      // by path: the target
	kinds map[string]string      // by path of a file: the kind of item that brought it, the first one
	empty []string               // folders with nothing in them
	looks map[string]bool        // ELF files and scripts whose needs are known
}

// fromHost gathers tools and folders, and makes the tree of them without copying what the store has.
func (in *resolution) fromHost(ctx context.Context) (artifact.Digest, error) {
	g := &gathering{files: map[string]fs.FileInfo{}, links: map[string]string{}, kinds: map[string]string{}, looks: map[string]bool{}}
	for _, name := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if target, err := os.Readlink(name); err == nil {
			g.links[name] = target
		}
	}
	tools := map[string]string{}
	for _, tool := range in.req.Spec.Tools {
		real, err := g.tool(tool)
		if err != nil {
			return "", err
		}
		tools[tool] = real
	}
	for _, folder := range in.req.Spec.Folders {
		if err := g.folder(ctx, folder); err != nil {
			return "", err
		}
	}
	tree, digests, err := in.hostTree(ctx, g)
	if err != nil {
		return "", err
	}
	versions := owners(ctx, g)
	for tool, real := range tools {
		in.lock.Items = append(in.lock.Items, Item{Kind: KindTool, Name: filepath.Base(tool), Version: versions[real], Digest: digests[real], At: real})
	}
	for p, kind := range g.kinds {
		if kind == KindLibrary {
			in.lock.Items = append(in.lock.Items, Item{Kind: kind, Name: filepath.Base(p), Version: versions[p], Digest: digests[p], At: p})
		}
	}
	for _, folder := range in.req.Spec.Folders {
		d, err := find(ctx, in.store, tree, strings.TrimPrefix(folder, "/"))
		if err != nil {
			return "", err
		}
		in.lock.Items = append(in.lock.Items, Item{Kind: KindFolder, Name: filepath.Base(folder), Version: goVersion(folder), Digest: d, At: folder})
	}
	return tree, nil
}

// goVersion is what a folder says of its own version, as Go's toolchain does.
func goVersion(folder string) string {
	text, err := os.ReadFile(filepath.Join(folder, "VERSION"))
	if err != nil || len(text) > 200 {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line)
}

// tool gathers a program and what it needs, and returns its path without links.
func (g *gathering) tool(name string) (string, error) {
	places := []string{name}
	if !strings.HasPrefix(name, "/") {
		places = nil
		for _, dir := range toolPath {
			places = append(places, filepath.Join(dir, name))
		}
	}
	for _, p := range places {
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			real, err := g.add(p, KindTool)
			if err != nil {
				return "", err
			}
			return real, g.needs(real)
		}
	}
	return "", slipway.Errorf(slipway.Invalid, "the tool %q is not on this host", name).Try("install it, or take it off the list")
}

// add gathers a file with all links on the way to it, and returns its path without links.
func (g *gathering) add(p, kind string) (string, error) {
	todo, at := strings.Split(strings.Trim(filepath.Clean(p), "/"), "/"), "/"
	for hops := 0; len(todo) > 0; {
		next := filepath.Join(at, todo[0])
		todo = todo[1:]
		fi, err := os.Lstat(next)
		if err != nil {
			return "", slipway.Errorf(slipway.Invalid, "cannot read %s of this host: %w", p, err)
		}
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(next)
			if hops++; err != nil || hops > 40 {
				return "", slipway.Errorf(slipway.Invalid, "the link %s of this host leads nowhere", p)
			}
			g.links[next] = target
			if strings.HasPrefix(target, "/") {
				at = "/"
			}
			todo = append(strings.Split(strings.Trim(target, "/"), "/"), todo...)
		case len(todo) == 0:
			if !fi.Mode().IsRegular() {
				return "", slipway.Errorf(slipway.Invalid, "%s of this host is no file", p)
			}
			g.put(next, fi, kind)
			return next, nil
		default:
			at = next
		}
	}
	return "", slipway.Errorf(slipway.Invalid, "%s of this host is no file", p)
}

func (g *gathering) put(p string, fi fs.FileInfo, kind string) {
	if _, ok := g.files[p]; !ok {
		g.files[p], g.kinds[p] = fi, kind
	}
}

// needs gathers what a program needs to start: the loader and libraries of an ELF file, the interpreter of a script.
func (g *gathering) needs(real string) error {
	if g.looks[real] {
		return nil
	}
	g.looks[real] = true
	f, err := os.Open(real)
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "cannot read a tool of this host: %w", err)
	}
	defer f.Close()
	if line, err := bufio.NewReaderSize(f, 256).ReadSlice('\n'); err == nil && strings.HasPrefix(string(line), "#!") {
		for i, word := range strings.Fields(string(line[2:])) {
			if i == 0 || !strings.HasPrefix(word, "-") && strings.HasSuffix(strings.Fields(string(line[2:]))[0], "/env") {
				if _, err := g.tool(word); err != nil {
					return err
				}
			}
		}
		return nil
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return nil // another kind of program; whoever lists it knows what it needs
	}
	defer e.Close()
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			text, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
			if err != nil {
				return slipway.Errorf(slipway.Unavailable, "cannot read a tool of this host: %w", err)
			}
			if _, err := g.add(strings.TrimRight(string(text), "\x00"), KindLibrary); err != nil {
				return err
			}
		}
	}
	libs, err := e.ImportedLibraries()
	if err != nil {
		return nil // static
	}
	dirs := runPath(e, filepath.Dir(real))
	for _, lib := range libs {
		found, err := g.library(lib, append(dirs, libraryPath...), e.Class)
		if err != nil {
			return err
		}
		if found == "" {
			return slipway.Errorf(slipway.Invalid, "the library %s, which %s needs, is not where the loader looks", lib, real).
				Try("list its folder under folders:, or another tool")
		}
		if err := g.needs(found); err != nil {
			return err
		}
	}
	return nil
}

func runPath(e *elf.File, origin string) (dirs []string) {
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		paths, _ := e.DynString(tag)
		for _, p := range paths {
			for _, d := range strings.Split(p, ":") {
				if d = strings.NewReplacer("$ORIGIN", origin, "${ORIGIN}", origin).Replace(d); strings.HasPrefix(d, "/") {
					dirs = append(dirs, filepath.Clean(d))
				}
			}
		}
	}
	return dirs
}

func (g *gathering) library(name string, dirs []string, class elf.Class) (string, error) {
	for _, dir := range dirs {
		p := filepath.Join(dir, name)
		e, err := elf.Open(p)
		if err != nil {
			continue
		}
		same := e.Class == class
		e.Close()
		if same {
			return g.add(p, KindLibrary)
		}
	}
	return "", nil
}

// folder gathers a file or folder of the host as it is. Programs in it bring what they need when they are listed as tools, or
// its own folders do.
func (g *gathering) folder(ctx context.Context, top string) error {
	if fi, err := os.Lstat(top); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
		real, err := filepath.EvalSymlinks(top)
		if err != nil {
			return slipway.Errorf(slipway.Invalid, "the link %s of this host leads nowhere", top)
		}
		g.links[top] = real
		top = real
	}
	return filepath.WalkDir(top, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p == top {
			return slipway.Errorf(slipway.Invalid, "the folder %s is not on this host", top).Try("correct the path, or take it off the list")
		}
		if err != nil {
			return slipway.Errorf(slipway.Unavailable, "cannot read a folder of this host: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		switch e.Type() {
		case 0:
			fi, err := e.Info()
			if err != nil {
				return slipway.Errorf(slipway.Unavailable, "cannot read a folder of this host: %w", err)
			}
			g.put(p, fi, KindFolder)
		case fs.ModeSymlink:
			if g.links[p], err = os.Readlink(p); err != nil {
				return slipway.Errorf(slipway.Unavailable, "cannot read a folder of this host: %w", err)
			}
		case fs.ModeDir:
			g.empty = append(g.empty, p) // as long as nothing is put there
		}
		return nil
	})
}

// hostTree makes the tree of what was gathered, and returns the files' digests by path.
func (in *resolution) hostTree(ctx context.Context, g *gathering) (artifact.Digest, map[string]artifact.Digest, error) {
	var tree artifact.Digest
	var digests map[string]artifact.Digest
	err := in.store.Together(ctx, func(ctx context.Context, st artifact.Store) (err error) {
		if digests, err = in.files.digests(ctx, st, g.files); err != nil {
			return err
		}
		top := newBranch()
		for p, fi := range g.files {
			dir, name := top.at(filepath.Dir(p)), filepath.Base(p)
			dir.message.Files = append(dir.message.Files, &repb.FileNode{Name: name, IsExecutable: fi.Mode()&0o111 != 0, Digest: artifact.Proto(digests[p], fi.Size())})
		}
		for p, target := range g.links {
			to, err := relative(strings.TrimPrefix(p, "/"), target)
			if err != nil {
				return slipway.Errorf(slipway.Invalid, "the link %s of this host %w", p, err)
			}
			dir := top.at(filepath.Dir(p))
			dir.message.Symlinks = append(dir.message.Symlinks, &repb.SymlinkNode{Name: filepath.Base(p), Target: to})
		}
		for _, p := range g.empty {
			top.at(p)
		}
		tree, err = top.put(ctx, st)
		return err
	})
	if err == nil {
		in.files.save()
	}
	return tree, digests, err
}

// branch is a folder of a tree being made.
type branch struct {
	message *repb.Directory
	subs    map[string]*branch
}

func newBranch() *branch { return &branch{&repb.Directory{}, map[string]*branch{}} }

func (b *branch) at(dir string) *branch {
	for name := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		if name == "" {
			continue
		}
		if b.subs[name] == nil {
			b.subs[name] = newBranch()
		}
		b = b.subs[name]
	}
	return b
}

func (b *branch) put(ctx context.Context, st artifact.Store) (artifact.Digest, error) {
	for name, sub := range b.subs {
		d, err := sub.put(ctx, st)
		if err != nil {
			return "", err
		}
		size, err := st.Stat(ctx, d)
		if err != nil {
			return "", err
		}
		b.message.Directories = append(b.message.Directories, &repb.DirectoryNode{Name: name, Digest: artifact.Proto(d, size)})
	}
	d, _, err := artifact.PutMessage(ctx, st, b.message)
	return d, err
}

// find returns the digest of what is at a path of a tree: a file's or a folder's.
func find(ctx context.Context, from artifact.Opener, tree artifact.Digest, at string) (artifact.Digest, error) {
	name, rest, deeper := strings.Cut(at, "/")
	m, _, err := artifact.ReadDirectory(ctx, from, tree, at)
	if err != nil {
		return "", err
	}
	if i := slices.IndexFunc(m.Directories, func(d *repb.DirectoryNode) bool { return d.Name == name }); i >= 0 {
		if d := artifact.Prefix + m.Directories[i].Digest.Hash; deeper {
			return find(ctx, from, d, rest)
		} else {
			return d, nil
		}
	}
	if i := slices.IndexFunc(m.Files, func(f *repb.FileNode) bool { return f.Name == name }); i >= 0 && !deeper {
		return artifact.Prefix + m.Files[i].Digest.Hash, nil
	}
	return "", nil // a link; what it leads to has its own item
}
