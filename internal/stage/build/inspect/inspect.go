// Package inspect holds the default checks of an output: what must hold for every component, whatever it is.
//
//	outputs   what the component declares is there
//	files     no file that everybody may write, none that runs as its owner, no symbolic link out of the tree or to nothing
//	arch      programs and libraries are for the machine that they are meant for
//	linkage   every library that they name is in the output, in what it was built with, or in the system
//	paths     no file names the folders of its build; that is a warning, as debuggers do it
//
// A check that has nothing to look at passes and says that it is not applicable, and why: nothing is skipped in silence. What is
// found follows from the trees alone.
package inspect

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// Subject is what is looked at.
type Subject struct {
	Dir       string   // the output
	Outputs   []string // paths in it that must be there
	Libraries []string // outputs that it was built with
	System    []string // roots of systems whose libraries it may use: "/", the root of a buildroot
	Paths     []string // folders of the build, which no file should name
	Arch      string   // Go's name of the machine; default this one's
}

// Checks are the names of the default checks.
var Checks = []string{"outputs", "files", "arch", "linkage", "paths"}

// Finding is what one check found.
type Finding struct {
	Check    string
	Outcome  slipway.Outcome
	Reason   string
	Warnings []string
}

// String writes "linkage: fail: bin/app needs libwire.so.2, which is nowhere".
func (f Finding) String() string {
	s := fmt.Sprintf("%s: %s", f.Check, f.Outcome)
	if f.Reason != "" {
		s += ": " + f.Reason
	}
	if len(f.Warnings) > 0 {
		s += "; warning: " + several(f.Warnings)
	}
	return s
}

// file is a file of the output, by its path in it.
type file struct {
	path string
	mode fs.FileMode
}

// Tree looks at an output. The error tells that it could not; what is wrong with the output is in the findings, one of each check.
func Tree(ctx context.Context, s Subject) ([]Finding, error) {
	if s.Arch == "" {
		s.Arch = runtime.GOARCH
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("inspect the output: %w", err)
	}
	defer root.Close()
	var files []file
	err = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		fi, err := d.Info()
		if err == nil && p != "." {
			files = append(files, file{p, fi.Mode()})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("inspect the output: %w", err)
	}
	binaries, leaks, err := read(ctx, root, files, s.Paths)
	if err != nil {
		return nil, err
	}
	return []Finding{outputs(root, s), sane(root, files), arch(binaries, s.Arch), linkage(binaries, files, s), leaking(files, leaks)}, nil
}

func outputs(root *os.Root, s Subject) Finding {
	if len(s.Outputs) == 0 {
		return notApplicable("outputs", "the component declares none")
	}
	var bad []string
	for _, o := range s.Outputs {
		if _, err := root.Stat(filepath.FromSlash(o)); err != nil {
			bad = append(bad, o+" is not there")
		}
	}
	return verdict("outputs", bad, fmt.Sprintf("%d declared, all there", len(s.Outputs)))
}

func sane(root *os.Root, files []file) Finding {
	if len(files) == 0 {
		return notApplicable("files", "the output is empty")
	}
	var bad []string
	for _, f := range files {
		switch {
		case f.mode&fs.ModeSymlink != 0:
			target, err := root.Readlink(f.path)
			if err != nil {
				bad = append(bad, f.path+" cannot be read")
			} else if path.IsAbs(target) {
				bad = append(bad, f.path+" is a symbolic link to the absolute path "+target)
			} else if _, err := root.Stat(f.path); err != nil {
				bad = append(bad, f.path+" is a symbolic link to "+target+", which is not in the output")
			}
		case !f.mode.IsRegular() && !f.mode.IsDir():
			bad = append(bad, f.path+" is neither file, folder nor symbolic link")
		case f.mode&(fs.ModeSetuid|fs.ModeSetgid) != 0:
			bad = append(bad, f.path+" runs as its owner or group")
		case f.mode.Perm()&0o002 != 0:
			bad = append(bad, f.path+" may be written by everybody")
		}
	}
	return verdict("files", bad, fmt.Sprintf("%d looked at", len(files)))
}

// binary is an ELF file of the output.
type binary struct {
	path    string
	machine elf.Machine
	class   elf.Class
	kind    elf.Type
	needs   []string
	search  []string // its RUNPATH and RPATH
}

// read reads all regular files once: what is ELF, and what names one of the paths.
func read(ctx context.Context, root *os.Root, files []file, paths []string) (binaries []binary, leaks []string, err error) {
	for _, f := range files {
		if !f.mode.IsRegular() {
			continue
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		in, err := root.Open(f.path)
		if err != nil {
			return nil, nil, fmt.Errorf("inspect the output: %w", err)
		}
		if e, err := elf.NewFile(in); err == nil {
			b := binary{path: f.path, machine: e.Machine, class: e.Class, kind: e.Type}
			b.needs, _ = e.ImportedLibraries() // none: it is linked statically
			for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
				list, _ := e.DynString(tag)
				for _, l := range list {
					b.search = append(b.search, strings.Split(l, ":")...)
				}
			}
			binaries = append(binaries, b)
		}
		named, err := names(in, paths)
		in.Close()
		if err != nil {
			return nil, nil, fmt.Errorf("inspect %s: %w", f.path, err)
		}
		if named != "" {
			leaks = append(leaks, f.path+" names "+named)
		}
	}
	return binaries, leaks, nil
}

// names returns the first of the paths that the file's bytes hold.
func names(in io.ReaderAt, paths []string) (string, error) {
	longest := 0
	for _, p := range paths {
		longest = max(longest, len(p))
	}
	if longest == 0 {
		return "", nil
	}
	buf := make([]byte, 256<<10)
	kept := 0 // of the chunk before, in case a path lies across the border
	for at := int64(0); ; {
		n, err := in.ReadAt(buf[kept:], at)
		chunk := buf[:kept+n]
		for _, p := range paths {
			if bytes.Contains(chunk, []byte(p)) {
				return p, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		at += int64(n)
		kept = copy(buf, chunk[len(chunk)-min(longest, len(chunk)):])
	}
}

var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "386": elf.EM_386, "arm": elf.EM_ARM, "riscv64": elf.EM_RISCV, "ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390,
}

func arch(binaries []binary, want string) Finding {
	machine, known := machines[want]
	switch {
	case len(binaries) == 0:
		return notApplicable("arch", "there is no ELF file")
	case !known:
		return notApplicable("arch", "nothing is known of the machine "+want)
	}
	var bad []string
	for _, b := range binaries {
		if b.machine != machine {
			bad = append(bad, fmt.Sprintf("%s is for %s, not for %s", b.path, strings.TrimPrefix(b.machine.String(), "EM_"), want))
		}
	}
	return verdict("arch", bad, fmt.Sprintf("%d for %s", len(binaries), want))
}

// systemFolders are where the loader looks by itself (ld.so(8)), with the folders of Debian's multiarch.
var systemFolders = []string{"lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib", "lib/*-linux-*", "usr/lib/*-linux-*", "usr/local/lib/*-linux-*"}

func linkage(binaries []binary, files []file, s Subject) Finding {
	there := map[string]bool{} // by file name, in outputs
	for _, f := range files {
		there[path.Base(f.path)] = true
	}
	var bad []string
	dynamic := 0
	for _, b := range binaries {
		if len(b.needs) == 0 {
			continue
		}
		dynamic++
		for _, need := range b.needs {
			if !there[need] && !inTrees(s.Libraries, need) && !inSystems(s.System, b.search, need) {
				bad = append(bad, fmt.Sprintf("%s needs %s, which is neither in the output, nor in what it was built with, nor in the system", b.path, need))
			}
		}
	}
	if dynamic == 0 {
		return notApplicable("linkage", "nothing is linked dynamically")
	}
	return verdict("linkage", bad, fmt.Sprintf("%d linked dynamically, all they need is there", dynamic))
}

// inTrees reports whether one of the trees has a file of that name, in whatever folder.
func inTrees(dirs []string, name string) bool {
	found := errors.New("found")
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == name {
				return found
			}
			return nil
		})
		if errors.Is(err, found) {
			return true
		}
	}
	return false
}

func inSystems(roots, search []string, name string) bool {
	for _, root := range roots {
		folders := slices.Clone(systemFolders)
		for _, dir := range search {
			if path.IsAbs(dir) {
				folders = append(folders, dir)
			}
		}
		for _, folder := range folders {
			if found, _ := filepath.Glob(filepath.Join(root, folder, name)); len(found) > 0 {
				return true
			}
		}
	}
	return false
}

func leaking(files []file, leaks []string) Finding {
	if !slices.ContainsFunc(files, func(f file) bool { return f.mode.IsRegular() }) {
		return notApplicable("paths", "there is no file")
	}
	return Finding{Check: "paths", Outcome: slipway.Pass, Warnings: leaks}
}

func notApplicable(check, why string) Finding {
	return Finding{Check: check, Outcome: slipway.Pass, Reason: "not applicable: " + why}
}

func verdict(check string, bad []string, good string) Finding {
	if len(bad) == 0 {
		return Finding{Check: check, Outcome: slipway.Pass, Reason: good}
	}
	return Finding{Check: check, Outcome: slipway.Fail, Reason: several(bad)}
}

// several joins a few of many.
func several(all []string) string {
	const shown = 5
	text := strings.Join(all[:min(len(all), shown)], "; ")
	if n := len(all); n > shown {
		text += fmt.Sprintf("; and %d more", n-shown)
	}
	return text
}
