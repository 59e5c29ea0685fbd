package git

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"slipway.dev/slipway/internal/slipway"
)

// Readers keeps git processes that answer questions about objects (git cat-file --batch-command), so that a question costs a few
// microseconds and no process. They are asked by full ids alone: what an id names never changes, and an object that has come since
// a process began is found by it too. A process is one caller's at a time. It ends when it is not among the last ones used, at [Readers.Close], and
// when the process that started it is gone, since its input ends then.
type Readers struct {
	mu     sync.Mutex
	idle   []*reader // the last one used is the last
	closed bool
}

// maxIdle bounds the processes that wait for a question.
const maxIdle = 16

// Reading returns r with its objects read by kept processes where that is possible.
func (r Repo) Reading(p *Readers) Repo { r.readers = p; return r }

// Close ends the processes. Those in use end when they are given back.
func (p *Readers) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, x := range p.idle {
		x.end()
	}
	p.idle = nil
}

// reader is one process.
type reader struct {
	dir string
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// kept reports whether questions about an id can go to a kept process. One with variables of its own (a quarantine) or a lock is not kept.
func (r Repo) kept(ids ...string) bool {
	return r.readers != nil && len(r.env) == 0 && r.held == nil && !slices.ContainsFunc(ids, func(id string) bool { return !IsID(id) })
}

// ask calls f with a process of its own. An error of f ends the process, as nobody knows what it would say next. One that has waited may have
// died meanwhile; then f is called once more, with a new one.
func (r Repo) ask(ctx context.Context, f func(x *reader) error) error {
	for {
		x, waited, err := r.readers.take(r)
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { _ = x.cmd.Process.Kill() })
		err = f(x)
		if !stop() {
			x.end()
			return context.Cause(ctx)
		}
		if err == nil {
			r.readers.giveBack(x)
			return nil
		}
		x.end()
		if !waited || !errors.Is(err, errEnded) {
			return err
		}
	}
}

func (p *Readers) take(r Repo) (x *reader, waited bool, err error) {
	p.mu.Lock()
	for i := len(p.idle) - 1; i >= 0; i-- {
		if x := p.idle[i]; x.dir == r.dir {
			p.idle = slices.Delete(p.idle, i, i+1)
			p.mu.Unlock()
			return x, true, nil
		}
	}
	p.mu.Unlock()
	cmd := r.Command(context.Background(), Environ(), "cat-file", "--batch-command") // ended by its input
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, false, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, false, err
	}
	if err := cmd.Start(); err != nil {
		return nil, false, slipway.Errorf(slipway.Internal, "cannot run git: %w", err).Try("install git 2.38 or newer, and see that it is in PATH")
	}
	return &reader{dir: r.dir, cmd: cmd, in: in, out: bufio.NewReaderSize(out, 1<<16)}, false, nil
}

func (p *Readers) giveBack(x *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		x.end()
		return
	}
	if len(p.idle) == maxIdle {
		p.idle[0].end()
		p.idle = slices.Delete(p.idle, 0, 1)
	}
	p.idle = append(p.idle, x)
}

func (x *reader) end() {
	x.in.Close()
	_ = x.cmd.Process.Kill()
	_ = x.cmd.Wait()
}

// errEnded tells that a process said nothing more.
var errEnded = errors.New("git cat-file ended")

// put writes a question: "info" or "contents" of an expression, which holds no line end.
func (x *reader) put(verb, expr string) error {
	if _, err := io.WriteString(x.in, verb+" "+expr+"\n"); err != nil {
		return fmt.Errorf("%w: %w", errEnded, err)
	}
	return nil
}

// object is what an answer begins with; its id is "" where there is no such object.
type object struct {
	id, kind string
	size     int64
}

func (x *reader) head() (object, error) {
	line, err := x.out.ReadString('\n')
	if err != nil {
		return object{}, fmt.Errorf("%w: %w", errEnded, err)
	}
	f := strings.Fields(line)
	if len(f) != 3 || !IsID(f[0]) {
		return object{}, nil
	}
	size, err := strconv.ParseInt(f[2], 10, 64)
	return object{f[0], f[1], size}, err
}

// info looks at objects.
func (x *reader) info(exprs ...string) ([]object, error) {
	for _, e := range exprs { // few and short: they fit into the pipe
		if err := x.put("info", e); err != nil {
			return nil, err
		}
	}
	all := make([]object, len(exprs))
	for i := range all {
		var err error
		if all[i], err = x.head(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// contents reads an object, of at most [MaxFile] bytes.
func (x *reader) contents(expr string) (object, []byte, error) {
	if err := x.put("contents", expr); err != nil {
		return object{}, nil, err
	}
	o, err := x.head()
	if err != nil || o.id == "" {
		return o, nil, err
	}
	if o.size > MaxFile {
		return o, nil, fmt.Errorf("the object %s has %d bytes", o.id, o.size)
	}
	data := make([]byte, o.size+1) // and a line end
	if _, err := io.ReadFull(x.out, data); err != nil {
		return o, nil, fmt.Errorf("%w: %w", errEnded, err)
	}
	return o, data[:o.size], nil
}

// walked bounds the commits that a kept process is asked for one by one; git itself looks further back faster.
const walked = 16

// touched returns the commits up to id that changed the folder at path (all of them where path is ""), newest first, at most limit. It knows short straight histories only: ok is false where
// there is a merge on the way, where it is long, and where path is no folder.
func (x *reader) touched(id, path string, limit int) (found []Commit, ok bool, err error) {
	var later Commit // the one looked at before, and what it has at path
	var had string
	for n := 0; ; n++ {
		here := ""
		var c Commit
		if id != "" {
			if n == walked {
				return nil, false, nil
			}
			o, text, err := x.contents(id)
			if err != nil || o.kind != "commit" {
				return nil, false, err
			}
			if c, err = parseCommit(o.id, string(text)); err != nil || len(c.Parents) > 1 {
				return nil, false, nil //nolint:nilerr // git will say it
			}
			if here = c.Tree; path != "" {
				all, err := x.info(id + ":" + path)
				if err != nil {
					return nil, false, err
				}
				if here = all[0].id; here != "" && all[0].kind != "tree" {
					return nil, false, nil
				}
			}
		}
		if n > 0 && (path == "" || here != had) {
			if found = append(found, later); len(found) == limit {
				return found, true, nil
			}
		}
		if id == "" {
			return found, len(found) > 0, nil
		}
		later, had, id = c, here, ""
		if len(c.Parents) == 1 {
			id = c.Parents[0]
		}
	}
}

// list returns what a tree holds, folders before what is in them, as git ls-tree -r -t does: of each entry mode, kind, id and path. ok is
// false where there is much of it: then one process that writes it all is faster.
func (x *reader) list(tree string) (all []treeEntry, ok bool, err error) {
	todo := []treeEntry{{kind: "tree", id: tree}}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		o, data, err := x.contents(at.id)
		if err != nil || o.kind != "tree" {
			return nil, false, err
		}
		var here []treeEntry
		for len(data) > 0 { // "MODE NAME\0" and the bytes of the id
			head, rest, cut := bytes.Cut(data, []byte{0})
			mode, name, named := strings.Cut(string(head), " ")
			if !cut || !named || len(rest) < len(Zero)/2 {
				return nil, false, fmt.Errorf("tree %s is damaged", at.id)
			}
			e := treeEntry{mode: mode, kind: "blob", id: hex.EncodeToString(rest[:len(Zero)/2]), path: path.Join(at.path, name)}
			switch mode {
			case "40000":
				e.kind = "tree"
			case "160000":
				e.kind = "commit"
			}
			if err := checkEntry(name); err != nil {
				return nil, false, nil //nolint:nilerr // ls-tree will say it
			}
			here, data = append(here, e), rest[len(Zero)/2:]
		}
		for _, e := range here {
			all = append(all, e)
			if e.kind == "tree" {
				todo = append(todo, e)
			}
		}
		if len(all) > fewEntries {
			return nil, false, nil
		}
	}
	return all, true, nil
}

// fewEntries is up to how many entries of a tree are read one by one.
const fewEntries = 64

// files writes blobs into root.
func (x *reader) files(root *os.Root, files []treeEntry) error {
	for _, e := range files {
		if err := x.put("contents", e.id); err != nil {
			return err
		}
		if err := writeFile(root, x.out, e); err != nil {
			return fmt.Errorf("cannot write out %s: %w", x.dir, err)
		}
	}
	return nil
}
