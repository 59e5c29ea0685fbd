package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/slipway"
)

// stages are the folders over which a root process may mount, in its own mount namespace, the place where the
// sandbox's user reaches the mounts.
var stages = []string{"/mnt", "/media", "/srv", "/opt", "/home"}

// stage is the place where the sandbox's user reaches folders that are closed to it otherwise. It exists in the mount namespace of the
// thread that makes it, and of what that thread starts; it is gone with them.
type stage struct {
	dir     string
	sources []string
	uid     int
}

// pickStage returns a place that hides none of the sources when something is mounted over it.
func pickStage(sources []string, uid int) (*stage, error) {
	for _, dir := range stages {
		if fi, err := os.Lstat(dir); err != nil || !fi.IsDir() {
			continue
		}
		hides := slices.ContainsFunc(sources, func(s string) bool {
			return s == dir || strings.HasPrefix(s, dir+"/")
		})
		if !hides {
			return &stage{dir, sources, uid}, nil
		}
	}
	return nil, slipway.Errorf(slipway.Unavailable, "the sandbox needs one of %s as a mount point", strings.Join(stages, ", ")).Try("mkdir /mnt")
}

// reach is where the sources are to be found.
func (s *stage) reach() []string {
	all := make([]string, len(s.sources))
	for i := range s.sources {
		all[i] = filepath.Join(s.dir, strconv.Itoa(i))
	}
	return all
}

// build gives the calling thread a mount namespace of its own and mounts the sources. The thread must run nothing else afterwards: see
// [ownThread].
func (s *stage) build() error {
	failed := func(what string, err error) error {
		return slipway.Errorf(slipway.Unavailable, "the sandbox could not run: mount %s: %w", what, err).Try("in a container, run it with --privileged")
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return failed("namespace", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return failed("/", err)
	}
	if err := unix.Mount("slipway", s.dir, "tmpfs", 0, "mode=755,size=1m"); err != nil {
		return failed(s.dir, err)
	}
	for i, at := range s.reach() {
		err := os.Mkdir(at, 0o755)
		if err == nil {
			err = unix.Mount(s.sources[i], at, "", unix.MS_BIND, "")
		}
		if err != nil {
			return failed(s.sources[i], err)
		}
	}
	if err := humble(); err != nil {
		return slipway.Errorf(slipway.Unavailable, "the sandbox could not run: give up capabilities: %w", err)
	}
	return nil
}

// credential is whom the sandbox runs as.
func (s *stage) credential() *syscall.Credential {
	if s == nil {
		return nil
	}
	return &syscall.Credential{Uid: uint32(s.uid), Gid: uint32(s.uid)}
}

// as runs f as the sandbox's user. The thread must be its own (see [ownThread]): the kernel keeps users by thread, and there is no way back.
func (s *stage) as(f func() error) error {
	if _, _, no := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(s.uid), uintptr(s.uid), uintptr(s.uid)); no != 0 {
		return no
	}
	if _, _, no := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(s.uid), uintptr(s.uid), uintptr(s.uid)); no != 0 {
		return no
	}
	return f()
}

// humble takes from the calling thread, and so from what it starts, the ways to more than its own capabilities: the bounding and the inheritable set,
// and programs that run as somebody else. What it has itself it keeps, to mount and to become another user; that user gets none of it.
func humble() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: an older kernel, without it
			return err
		}
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&head, &sets[0]); err != nil {
		return err
	}
	sets[0].Inheritable, sets[1].Inheritable = 0, 0
	return unix.Capset(&head, &sets[0])
}

// ownThread runs f on a thread that nothing else runs on, and that ends with it. "Dies with its parent" means the thread that started
// it, and a mount namespace belongs to a thread.
func ownThread(f func()) {
	go func() {
		runtime.LockOSThread() // and never back: so the thread ends with the goroutine
		if unix.Gettid() != os.Getpid() {
			f()
			return
		}
		// The first thread of a process cannot end. Hold it, so that f gets another.
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread()
			f()
		}()
		<-done
	}()
}
