package resource

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/slipway"
)

// marker is the variable by which a process is known whose record was lost to a crash.
const marker = "SLIPWAY_PROCESS"

// stable is how long a process must have run for its earlier exits to be forgotten.
const stable = 30 * time.Second

// maxLog is the size of a log file, in bytes, above which a start begins a new one and keeps the old as .1.
const maxLog = 16 << 20

// Supervisor keeps processes and their records. A process is in a session and process group of its own and writes
// to its log file itself, so it lives on when the agent ends; the next supervisor over the same directory takes it
// up by pid and start time. A process that was started but not recorded before a crash is found by its marker and stopped.
// What a process started ends with it, also what left its session: the marker is inherited.
//
// It does not start processes again by itself: it says that one has ended, and who hears it decides.
type Supervisor struct {
	dir    string
	log    *slog.Logger
	exited func(id, reason string)
	grace  time.Duration

	mu     sync.Mutex
	procs  map[string]*process
	closed bool
	wg     sync.WaitGroup // watchers of processes that are not our children
}

// record is what is kept of a process on disk.
type record struct {
	ID string `json:"id"`
	identity
	Hash      string    `json:"hash"`  // of the resource
	Stamp     string    `json:"stamp"` // of what it requires
	Command   []string  `json:"command"`
	Started   time.Time `json:"started"`
	Exe       string    `json:"exe"`
	ExeDigest string    `json:"exe_digest"` // of the running program's bytes
	Exits     int       `json:"exits"`      // unwanted ones in a row
	Exit      string    `json:"exit"`       // how it ended last; "" while it runs
	Ended     time.Time `json:"ended,omitzero"`
}

// process is a record that is being watched.
type process struct {
	record
	stopping bool
	done     chan struct{} // closed when it has ended
	watch    *os.File      // pidfd of one that is not our child
}

// start says what to start.
type start struct {
	hash, stamp string
	command     []string
	env         []string
	dir         string
}

// openSupervisor reads the records, takes up what runs and stops strays.
func openSupervisor(dir string, cfg Config) (*Supervisor, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, slipway.Errorf(slipway.Internal, "no directory for process records: %w", err)
	}
	s := &Supervisor{dir: dir, log: cfg.Log, exited: cfg.Exited, grace: cfg.Grace, procs: map[string]*process{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, file := range files {
		doc, err := os.ReadFile(file)
		if err != nil {
			return nil, slipway.Errorf(slipway.Internal, "read process record: %w", err)
		}
		p := &process{done: make(chan struct{})}
		if err := json.Unmarshal(doc, &p.record); err != nil {
			return nil, slipway.Errorf(slipway.Internal, "process record is broken: %w", err).At(file).Try("remove it; the process is found by its marker and stopped")
		}
		s.procs[p.ID] = p
		if p.Exit == "" && p.alive() {
			if err := s.adopt(p); err != nil {
				return nil, err
			}
			known[p.ID] = true
			s.log.Info("process taken up", "resource", p.ID, "pid", p.Pid)
			continue
		}
		if p.Exit == "" {
			p.Exit = "ended while no agent was there"
		}
		close(p.done)
	}
	for pid, id := range marked(marker, dir+":") {
		group, err := syscall.Getpgid(pid)
		if err != nil || known[id] { // it belongs to a process that was taken up
			continue
		}
		s.log.Warn("stray process killed", "pid", pid, "group", group)
		if err := syscall.Kill(-group, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return nil, slipway.Errorf(slipway.Internal, "kill stray process %d: %w", pid, err)
		}
	}
	return s, nil
}

func (s *Supervisor) file(id string) string {
	return filepath.Join(s.dir, strings.NewReplacer("/", "%2F", "%", "%25").Replace(id)+".json")
}

// LogFile is where a process writes.
func (s *Supervisor) LogFile(id string) string {
	return strings.TrimSuffix(s.file(id), ".json") + ".log"
}

// get returns a process's record; ok is false when there is none.
func (s *Supervisor) get(id string) (r record, running, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.procs[id]
	if !ok {
		return record{}, false, false
	}
	return p.record, p.Exit == "", true
}

// done returns the channel that is closed when the process ends.
func (s *Supervisor) done(id string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.procs[id]; ok {
		return p.done
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

// start starts a process; one that runs under the id must have been stopped.
func (s *Supervisor) start(id string, what start) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.procs[id]
	if old != nil && old.Exit == "" {
		return slipway.Errorf(slipway.Conflict, "%s runs already as process %d", id, old.Pid)
	}
	out, err := s.openLog(id)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(what.command[0], what.command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = what.dir, out, out
	cmd.Env = append(what.env, marker+"="+s.dir+":"+id)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return slipway.Errorf(slipway.Invalid, "cannot start %s: %w", what.command[0], err).
			Try("use ENTITY.path for programs of an artifact, and name the artifact in requires")
	}
	who, _ := identify(cmd.Process.Pid) // one that ended already is reaped below
	p := &process{done: make(chan struct{}), record: record{
		ID: id, identity: who, Hash: what.hash, Stamp: what.stamp, Command: what.command, Started: time.Now().UTC(),
	}}
	p.Pid = cmd.Process.Pid
	p.Exe, p.ExeDigest = program(p.Pid)
	if old != nil {
		p.Exits = old.Exits
	}
	s.procs[id] = p
	if err := s.save(p); err != nil {
		syscall.Kill(-p.Pid, syscall.SIGKILL) // an unrecorded process must not run on
		cmd.Wait()
		p.Exit, p.Ended = "its record could not be written", time.Now().UTC()
		close(p.done)
		return err
	}
	go func() { // ends with the child, or with this process
		err := cmd.Wait()
		s.ended(p, exitReason(cmd.ProcessState, err))
	}()
	return nil
}

// adopt watches a process that is not our child.
func (s *Supervisor) adopt(p *process) error {
	fd, err := unix.PidfdOpen(p.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return slipway.Errorf(slipway.Internal, "watch process %d: %w", p.Pid, err)
	}
	p.watch = os.NewFile(uintptr(fd), fmt.Sprintf("pidfd:%d", p.Pid))
	conn, err := p.watch.SyscallConn()
	if err != nil {
		return slipway.Errorf(slipway.Internal, "watch process %d: %w", p.Pid, err)
	}
	s.wg.Go(func() {
		// A pidfd becomes readable when the process ends (pidfd_open(2)); the runtime's poller waits for it.
		err := conn.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 && err == nil
		})
		if err != nil { // closed
			return
		}
		p.watch.Close()
		s.ended(p, "ended")
	})
	return nil
}

// ended records that a process is gone and says so unless it was told to go.
func (s *Supervisor) ended(p *process, reason string) {
	syscall.Kill(-p.Pid, syscall.SIGKILL) // what is left of its group; ESRCH when nothing is
	for pid, id := range marked(marker, s.dir+":") {
		if id == p.ID { // it left the group; nothing new has the id before Exit is set
			syscall.Kill(pid, syscall.SIGKILL) // ESRCH when it has ended meanwhile
		}
	}
	s.mu.Lock()
	p.Exit, p.Ended = reason, time.Now().UTC()
	tell := !p.stopping && !s.closed
	if tell {
		if p.Ended.Sub(p.Started) > stable {
			p.Exits = 0
		}
		p.Exits++
	}
	err := error(nil)
	if s.procs[p.ID] == p && !s.closed {
		err = s.save(p)
	}
	exited := s.exited
	s.mu.Unlock()
	if err != nil {
		s.log.Error("process record not written", "resource", p.ID, "error", err)
	}
	close(p.done)
	if tell {
		s.log.Warn("process ended", "resource", p.ID, "pid", p.Pid, "reason", reason)
		if exited != nil {
			exited(p.ID, reason)
		}
	}
}

// due is when a process that keeps ending may be started again: 1 s after the second exit in a row, doubling to 1 min.
func (r record) due() time.Time {
	if r.Exits < 2 {
		return r.Ended
	}
	return r.Ended.Add(min(time.Second<<min(r.Exits-2, 6), time.Minute))
}

// stop ends a process: SIGTERM to its group, SIGKILL after the grace time. One that is gone is not an error.
func (s *Supervisor) stop(ctx context.Context, id string) error {
	s.mu.Lock()
	p, ok := s.procs[id]
	if !ok || p.Exit != "" {
		s.mu.Unlock()
		return nil
	}
	p.stopping = true
	s.mu.Unlock()
	signal := syscall.SIGTERM
	timer := time.NewTimer(s.grace)
	defer timer.Stop()
	for {
		if p.alive() { // never signal a group whose leader is another process by now
			if err := syscall.Kill(-p.Pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return slipway.Errorf(slipway.Internal, "stop process %d: %w", p.Pid, err)
			}
		}
		select {
		case <-p.done:
			return nil
		case <-ctx.Done():
			s.mu.Lock()
			p.stopping = false
			s.mu.Unlock()
			return ctx.Err()
		case <-timer.C:
			signal = syscall.SIGKILL
		}
	}
}

// forget stops a process and removes its record; the log stays.
func (s *Supervisor) forget(ctx context.Context, id string) error {
	if err := s.stop(ctx, id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.procs, id)
	if err := os.Remove(s.file(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return slipway.Errorf(slipway.Internal, "remove process record: %w", err)
	}
	return nil
}

func (s *Supervisor) stopAll(ctx context.Context) error {
	s.mu.Lock()
	var ids []string
	for id := range s.procs {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	failed := make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() { failed[i] = s.stop(ctx, id) })
	}
	wg.Wait()
	return errors.Join(failed...)
}

// close stops watching. Watchers of our own children end with the children, or with this process.
func (s *Supervisor) close() {
	s.mu.Lock()
	s.closed = true
	for _, p := range s.procs {
		if p.watch != nil {
			p.watch.Close()
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// save writes a record atomically. The lock is held.
func (s *Supervisor) save(p *process) error {
	doc, err := json.Marshal(p.record)
	if err != nil {
		return err
	}
	if err := WriteState(s.file(p.ID), doc); err != nil {
		return slipway.Errorf(slipway.Internal, "write process record: %w", err)
	}
	return nil
}

func (s *Supervisor) openLog(id string) (*os.File, error) {
	name := s.LogFile(id)
	if info, err := os.Stat(name); err == nil && info.Size() > maxLog {
		if err := os.Rename(name, name+".1"); err != nil {
			return nil, slipway.Errorf(slipway.Internal, "turn log: %w", err)
		}
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, slipway.Errorf(slipway.Internal, "open log: %w", err)
	}
	return f, nil
}

// program says which file a process runs, and the digest of its bytes; empty when it is gone already.
func program(pid int) (file, digest string) {
	link := fmt.Sprintf("/proc/%d/exe", pid)
	file, err := os.Readlink(link)
	if err != nil {
		return "", ""
	}
	f, err := os.Open(link)
	if err != nil {
		return file, ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return file, ""
	}
	return file, "sha256:" + hex.EncodeToString(h.Sum(nil))
}

func exitReason(state *os.ProcessState, err error) string {
	if state == nil {
		return fmt.Sprintf("ended: %v", err)
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return "ended by signal " + ws.Signal().String()
	}
	return fmt.Sprintf("exited with status %d", state.ExitCode())
}

// WriteState replaces a file of the agent's own atomically and durably.
func WriteState(name string, doc []byte) error {
	temp := name + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(doc)
	if err == nil {
		err = f.Sync()
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err == nil {
		err = os.Rename(temp, name)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
