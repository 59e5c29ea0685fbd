package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// hierarchies are the control groups that this process may make below its own. With version 2 one folder counts everything; with
// version 1 each controller has its own hierarchy.
type hierarchies struct {
	two  bool
	base map[string]string // by controller ("memory", "pids", "cpuacct"), the folder of our own below which we make groups
	why  map[string]string // by controller: why it is not there
}

var controllers = []string{"memory", "pids", "cpuacct"}

// findHierarchies looks where this process is in the control groups, and tries to make a group there.
func findHierarchies() hierarchies {
	h := hierarchies{base: map[string]string{}, why: map[string]string{}}
	mounts, two := cgroupMounts()
	own := ownCgroups()
	if two != "" && own[""] != "" {
		dir := filepath.Join(two, own[""])
		have, _ := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if words := strings.Fields(string(have)); slices.Contains(words, "memory") && slices.Contains(words, "pids") {
			if err := delegate(dir); err != nil {
				for _, c := range controllers {
					h.why[c] = err.Error()
				}
				return h
			}
			h.two = true
			for _, c := range controllers {
				h.base[c] = dir
			}
			return h
		}
	}
	for _, c := range controllers {
		mount, path := mounts[c], own[c]
		if mount == "" || path == "" {
			h.why[c] = "no such control group here"
			continue
		}
		dir := filepath.Join(mount, path)
		if err := mayMake(dir); err != nil {
			h.why[c] = err.Error()
			continue
		}
		h.base[c] = dir
	}
	return h
}

// cgroupMounts returns where the hierarchies are mounted: those of version 1 by controller, and that of version 2.
func cgroupMounts() (one map[string]string, two string) {
	one = map[string]string{}
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return one, ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) < 4:
		case words[2] == "cgroup2":
			two = words[1]
		case words[2] == "cgroup":
			for _, option := range strings.Split(words[3], ",") {
				one[option] = words[1]
			}
		}
	}
	return one, two
}

// ownCgroups returns where this process is: by controller, and with "" in the hierarchy of version 2.
func ownCgroups() map[string]string {
	own := map[string]string{}
	text, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 {
			for _, c := range strings.Split(parts[1], ",") {
				own[c] = parts[2]
			}
		}
	}
	return own
}

func mayMake(dir string) error {
	try, err := os.MkdirTemp(dir, "slipway-try-")
	if err != nil {
		return plain(err)
	}
	return os.Remove(try)
}

// delegate lets the groups below dir count. The kernel wants no process beside them, so those that are there (of a service with
// Delegate=yes: this one) go into a group of their own first.
func delegate(dir string) error {
	if err := mayMake(dir); err != nil {
		return err
	}
	const wanted = "+memory +pids +cpu"
	control := filepath.Join(dir, "cgroup.subtree_control")
	err := os.WriteFile(control, []byte(wanted), 0o600)
	if !errors.Is(err, syscall.EBUSY) {
		return plain(err)
	}
	aside := filepath.Join(dir, "slipway")
	if err := os.Mkdir(aside, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return plain(err)
	}
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return plain(err)
	}
	for pid := range strings.FieldsSeq(string(procs)) {
		if err := os.WriteFile(filepath.Join(aside, "cgroup.procs"), []byte(pid), 0o600); err != nil && !errors.Is(err, syscall.ESRCH) {
			return plain(err)
		}
	}
	return plain(os.WriteFile(control, []byte(wanted), 0o600))
}

// plain takes the path out of an error: it says nothing to a person.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// groups gives runs their control groups. A group that a run gave back is used again: making and removing them costs the kernel more.
type groups struct {
	at   hierarchies
	name string

	mu   sync.Mutex
	made int
	free []*group
}

// openGroups finds what there is, and ends what processes left in their groups that were killed before they could do it.
func openGroups() *groups {
	gs := &groups{at: findHierarchies(), name: "slipway-" + owner(os.Getpid())}
	for _, base := range gs.at.base {
		old, _ := filepath.Glob(filepath.Join(base, "slipway-*-*-*"))
		for _, g := range old {
			words := strings.Split(filepath.Base(g), "-")
			if pid, err := strconv.Atoi(words[1]); err != nil || owner(pid) == words[1]+"-"+words[2] {
				continue
			}
			killAll(g)
			_ = os.Remove(g) // if it is not empty yet, the next one does it
		}
	}
	return gs
}

// owner names a process for as long as the host runs: its id and when it started. A process that is not there has only its id.
func owner(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ") // the name before may hold anything
	if words := strings.Fields(rest); len(words) > 19 {
		return fmt.Sprintf("%d-%s", pid, words[19]) // field 22, in ticks since the host started; proc(5)
	}
	return strconv.Itoa(pid)
}

// killAll kills the processes of a group.
func killAll(dir string) {
	procs, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for word := range strings.FieldsSeq(string(procs)) {
		if pid, err := strconv.Atoi(word); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// String says what is bounded how.
func (gs *groups) String() string {
	words := map[string]string{"memory": "memory", "pids": "processes", "cpuacct": "processor time"}
	var together, single []string
	for _, c := range controllers {
		switch {
		case gs.at.base[c] != "":
			together = append(together, words[c])
		case c == "pids": // the sandbox's user namespace counts them
			together = append(together, words[c])
		default:
			single = append(single, fmt.Sprintf("%s (control group: %s)", words[c], gs.at.why[c]))
		}
	}
	out := "bounded for a whole run: " + strings.Join(together, ", ")
	if len(single) > 0 {
		out += "; only for each process: " + strings.Join(single, ", ")
	}
	return out
}

// group is the control group of one run at a time. A nil group counts nothing.
type group struct {
	two   bool
	dir   map[string]string // by controller
	begun struct {
		oom, forks int64
		cpu        time.Duration
	}
}

func (gs *groups) take(l Limits) (*group, error) {
	if len(gs.at.base) == 0 {
		return nil, nil
	}
	gs.mu.Lock()
	var g *group
	if n := len(gs.free); n > 0 {
		g, gs.free = gs.free[n-1], gs.free[:n-1]
	} else {
		g = &group{two: gs.at.two, dir: map[string]string{}}
		gs.made++
		for c, base := range gs.at.base {
			g.dir[c] = filepath.Join(base, gs.name+"-"+strconv.Itoa(gs.made))
		}
	}
	gs.mu.Unlock()
	if err := g.set(l); err != nil {
		gs.giveBack(g)
		return nil, slipway.Errorf(slipway.Unavailable, "the sandbox cannot bound the command by a control group: %w", err)
	}
	return g, nil
}

// giveBack ends what is still in the group; there is nothing when the run has ended by itself.
func (gs *groups) giveBack(g *group) {
	if g == nil {
		return
	}
	g.kill()
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.free = append(gs.free, g)
}

// kill ends all that is in the group.
func (g *group) kill() {
	for _, dir := range g.folders() {
		killAll(dir)
	}
}

// spare is how many processes bubblewrap itself takes of the limit.
const spare = 4

func (g *group) set(l Limits) error {
	for _, dir := range g.folders() {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	write := func(c, file, text string) error {
		if g.dir[c] == "" {
			return nil
		}
		return os.WriteFile(filepath.Join(g.dir[c], file), []byte(text), 0o600)
	}
	if err := write("pids", "pids.max", strconv.Itoa(l.Processes+spare)); err != nil {
		return err
	}
	memory := strconv.FormatInt(l.Memory, 10)
	if g.two {
		g.begun.oom, g.begun.forks, g.begun.cpu = g.count("memory", "memory.events", "oom_kill"), g.count("pids", "pids.events", "max"), g.used()
		_ = write("memory", "memory.swap.max", "0") // only where there is swap
		return errors.Join(write("memory", "memory.max", memory), write("memory", "memory.oom.group", "1"))
	}
	g.begun.oom, g.begun.forks, g.begun.cpu = g.count("memory", "memory.oom_control", "oom_kill"), g.count("pids", "pids.events", "max"), g.used()
	// The limit with swap must never be below the one without: first away with it.
	_ = write("memory", "memory.memsw.limit_in_bytes", "-1")
	if err := write("memory", "memory.limit_in_bytes", memory); err != nil {
		return err
	}
	_ = write("memory", "memory.memsw.limit_in_bytes", memory) // only where swap is counted
	return nil
}

// folders are those to join.
func (g *group) folders() []string {
	if g == nil {
		return nil
	}
	var all []string
	for _, c := range controllers {
		if d := g.dir[c]; d != "" && !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}

// counts reports whether the group bounds something for all processes together.
func (g *group) counts(controller string) bool { return g != nil && g.dir[controller] != "" }

// count reads a number from a file of lines "NAME NUMBER".
func (g *group) count(c, file, name string) int64 {
	if g.dir[c] == "" {
		return 0
	}
	text, _ := os.ReadFile(filepath.Join(g.dir[c], file))
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == name {
			n, _ := strconv.ParseInt(words[1], 10, 64)
			return n
		}
	}
	return 0
}

// used is the processor time of all that ever was in the group.
func (g *group) used() time.Duration {
	if g.two {
		return time.Duration(g.count("cpuacct", "cpu.stat", "usage_usec")) * time.Microsecond
	}
	if g.dir["cpuacct"] == "" {
		return 0
	}
	text, _ := os.ReadFile(filepath.Join(g.dir["cpuacct"], "cpuacct.usage"))
	n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return time.Duration(n)
}

// cpu is the processor time that the run took so far; 0 when nobody counts.
func (g *group) cpu() time.Duration {
	if g == nil {
		return 0
	}
	return g.used() - g.begun.cpu
}

// hit names the limit that the run ran into; "" when it is none of the group's.
func (g *group) hit() string {
	if g == nil {
		return ""
	}
	file := "memory.oom_control"
	if g.two {
		file = "memory.events"
	}
	switch {
	case g.count("memory", file, "oom_kill") > g.begun.oom:
		return "memory"
	case g.count("pids", "pids.events", "max") > g.begun.forks:
		return "processes"
	}
	return ""
}
