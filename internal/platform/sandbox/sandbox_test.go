package sandbox

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/slipway"
)

// asUser, when set, says that this process is the test binary started again as an ordinary user.
const asUser = "SLIPWAY_SANDBOX_TEST_DIR"

// suite is the contract. It runs once as who we are, and once more as an ordinary user when we are root.
var suite = []struct {
	name string
	test func(t *testing.T, r *Runner)
}{
	{"check", func(t *testing.T, r *Runner) {
		if err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}},
	{"exit code", func(t *testing.T, r *Runner) {
		if exit, _ := sh(t, r, "exit 7", Limits{}); exit.Status != Exited || exit.Code != 7 {
			t.Fatalf("%+v", exit)
		}
		if exit, _ := sh(t, r, "kill -9 $$", Limits{}); exit.Status != Exited || exit.Code != 128+9 {
			t.Fatalf("%+v", exit)
		}
	}},
	{"a missing command is the command's fault", func(t *testing.T, r *Runner) {
		exit, err := r.Run(t.Context(), Spec{Argv: []string{"/nonexistent"}, Dir: "/"})
		if err != nil || exit.Status != Exited || exit.Code != 127 {
			t.Fatalf("%+v %v", exit, err)
		}
	}},
	{"a root of its own", func(t *testing.T, r *Runner) {
		root := tinyRoot(t)
		var log bytes.Buffer
		exit, err := r.Run(t.Context(), Spec{
			Root: root,
			Argv: []string{"sh", "-c", `ls -A /; ls /etc; cat /etc/made /etc/passwd /etc/link; ls /usr/bin; [ "$PWD" = /build/out ] && pwd > x; touch /x /usr/x /etc/x 2>/dev/null && echo WROTE; exit 3`},
			Env:  map[string]string{"PATH": "/bin"}, Dir: "/build/out",
			Mounts: []Mount{{Source: t.TempDir(), Target: "/build/out", Writable: true}}, Log: &log,
		})
		if err != nil || exit.Status != Exited || exit.Code != 3 {
			t.Fatalf("%+v %v %s", exit, err, &log)
		}
		want := "bin build dev etc " + libs(root) + "proc tmp usr group hosts link made nsswitch.conf passwd made build:x:1000:1000:build:/tmp/home:/bin/sh made cat ls sh touch"
		if got := strings.Join(strings.Fields(log.String()), " "); got != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
		if entries, err := os.ReadDir(filepath.Join(root, "etc")); err != nil || len(entries) != 3 {
			t.Fatalf("the root was written to: %v %v", entries, err)
		}
	}},
	{"the whole of /build can be one writable mount", func(t *testing.T, r *Runner) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "src"), 0o755); err != nil {
			t.Fatal(err)
		}
		exit, err := r.Run(t.Context(), Spec{Argv: []string{"sh", "-c", "echo x > ../y"}, Env: map[string]string{"PATH": "/usr/bin"}, Dir: "/build/src",
			Mounts: []Mount{{Source: dir, Target: "/build", Writable: true}}})
		if err != nil || exit.Code != 0 {
			t.Fatalf("%+v %v", exit, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "y")); err != nil {
			t.Fatal(err)
		}
	}},
	{"a missing mount is the sandbox's fault", func(t *testing.T, r *Runner) {
		_, err := r.Run(t.Context(), Spec{Argv: []string{"true"}, Dir: "/", Mounts: []Mount{{Source: "/nonexistent", Target: "/build/x"}}})
		if !slipway.Is(err, slipway.Unavailable) || !strings.Contains(err.Error(), "nonexistent") {
			t.Fatalf("%v", err)
		}
	}},
	{"clean environment", func(t *testing.T, r *Runner) {
		t.Setenv("SECRET", "x")
		_, log := sh(t, r, "env | grep -v ^PWD= | sort; id -u; hostname; cat /etc/passwd; ls /etc", Limits{})
		want := "A=b c\nPATH=/usr/bin:/bin\n1000\nslipway\nbuild:x:1000:1000:build:/tmp/home:/bin/sh\n"
		if !strings.HasPrefix(log, want) {
			t.Fatalf("got\n%s\nwant\n%s", log, want)
		}
		if rest := strings.Fields(strings.TrimPrefix(log, want)); strings.Join(rest, " ") != "alternatives group hosts nsswitch.conf passwd" {
			t.Fatalf("/etc holds %q", rest)
		}
	}},
	{"localhost has an address", func(t *testing.T, r *Runner) {
		exit, log := sh(t, r, "getent ahosts localhost", Limits{})
		if exit.Code != 0 || !strings.Contains(log, "127.0.0.1") {
			t.Fatalf("%+v\n%s", exit, log)
		}
	}},
	{"no network", func(t *testing.T, r *Runner) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		exit, log := sh(t, r, `ls /sys/class/net 2>/dev/null; awk 'NR>2{print $1}' /proc/net/dev
if perl -MIO::Socket::INET -e 'exit(IO::Socket::INET->new(PeerAddr=>"127.0.0.1:`+port+`",Timeout=>2)?0:1)'; then exit 9; fi`, Limits{})
		if exit.Code != 0 || strings.TrimSpace(log) != "lo:" {
			t.Fatalf("%+v\n%s", exit, log)
		}
	}},
	{"sees nothing of the host", func(t *testing.T, r *Runner) {
		_, log := sh(t, r, `ls -A / | tr '\n' ' '; echo; for d in /root /home /var /etc/shadow /tmp/* `+t.TempDir()+`; do [ "$d" = /tmp/home ] || ! [ -e "$d" ] || echo SEEN $d; done; ls /proc | grep -c '^[0-9]' `, Limits{})
		if strings.Contains(log, "SEEN") {
			t.Fatal(log)
		}
		for _, name := range strings.Fields(strings.Split(log, "\n")[0]) {
			if !strings.Contains(" bin build dev etc lib lib32 lib64 libx32 proc sbin tmp usr ", " "+name+" ") {
				t.Errorf("sees /%s", name)
			}
		}
	}},
	{"no privileges", func(t *testing.T, r *Runner) {
		_, log := sh(t, r, `grep -E '^(CapPrm|CapEff|CapBnd|NoNewPrivs)' /proc/self/status | awk '{print $2}' | tr '\n' ' '; unshare -U true 2>/dev/null && echo NESTED; mount -t tmpfs x /tmp 2>/dev/null && echo MOUNTED; touch /usr/x /x /build/x /etc/x 2>/dev/null && echo WROTE; true`, Limits{})
		if strings.TrimSpace(log) != "0000000000000000 0000000000000000 0000000000000000 1" {
			t.Fatal(log)
		}
	}},
	{"a superuser changes its root, and nothing of the host", func(t *testing.T, r *Runner) {
		var log bytes.Buffer
		root := t.TempDir()
		exit, err := r.Run(t.Context(), Spec{
			Argv: []string{"sh", "-c", `id -u; chown 0:0 /build/root && mkdir /build/root/in
perl -e 'chroot "/build/root" or die "$!\n"; print -d "/in" ? "CHANGED\n" : "not there\n"'
chown 1:1 /build/root 2>/dev/null && echo OWNED; unshare -U true 2>/dev/null && echo NESTED; mount -t tmpfs x /tmp 2>/dev/null && echo MOUNTED; touch /usr/x /x /etc/x 2>/dev/null && echo WROTE; cat /etc/shadow 2>/dev/null && echo READ; true`},
			Env: map[string]string{"PATH": "/usr/bin:/usr/sbin"}, Dir: "/build/root", Superuser: true, Log: &log,
			Mounts: []Mount{{Source: root, Target: "/build/root", Writable: true}},
		})
		if err != nil || exit.Code != 0 || log.String() != "0\nCHANGED\n" {
			t.Fatalf("%+v %v\n%s", exit, err, &log)
		}
		if fi, err := os.Stat(filepath.Join(root, "in")); err != nil || os.Geteuid() == 0 && fi.Sys().(*syscall.Stat_t).Uid == 0 {
			t.Fatalf("%+v %v", fi, err)
		}
		if _, err := r.Run(t.Context(), Spec{Argv: []string{"true"}, Dir: "/", Superuser: true, Unconfined: true}); !slipway.Is(err, slipway.Unavailable) {
			t.Fatal(err)
		}
	}},
	{"inputs are read-only, outputs writable", func(t *testing.T, r *Runner) {
		in, out := t.TempDir(), t.TempDir()
		if err := os.WriteFile(filepath.Join(in, "f"), []byte("in"), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(in, 0o777); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		exit, err := r.Run(t.Context(), Spec{
			Argv:   []string{"sh", "-c", "cat /build/in/f > /build/out/g; (echo x > /build/in/f) 2>/dev/null && echo WROTE; (rm /build/in/f) 2>/dev/null && echo REMOVED; true"},
			Env:    map[string]string{"PATH": "/usr/bin:/bin"},
			Dir:    "/build/out",
			Mounts: []Mount{{Source: in, Target: "/build/in"}, {Source: out, Target: "/build/out", Writable: true}},
			Log:    &log,
		})
		if err != nil || exit.Code != 0 || log.String() != "" {
			t.Fatalf("%+v %v %s", exit, err, &log)
		}
		if got, err := os.ReadFile(filepath.Join(out, "g")); err != nil || string(got) != "in" {
			t.Fatalf("%q %v", got, err)
		}
	}},
	{"timeout ends grandchildren", func(t *testing.T, r *Runner) {
		alive := newAlive(t)
		exit, err := r.Run(t.Context(), Spec{
			Argv:   []string{"sh", "-c", alive.script + "; setsid sh -c 'exec sleep 1000' & trap '' TERM; wait; sleep 1000"},
			Env:    map[string]string{"PATH": "/usr/bin:/bin"},
			Dir:    "/",
			Mounts: alive.mounts,
			Limits: Limits{Wall: time.Second},
		})
		if err != nil || exit.Status != TimedOut {
			t.Fatalf("%+v %v", exit, err)
		}
		alive.gone(t)
	}},
	{"a background process does not outlive the command", func(t *testing.T, r *Runner) {
		alive := newAlive(t)
		exit, err := r.Run(t.Context(), Spec{
			Argv:   []string{"sh", "-c", alive.script + "; exit 0"},
			Env:    map[string]string{"PATH": "/usr/bin:/bin"},
			Dir:    "/",
			Mounts: alive.mounts,
		})
		if err != nil || exit.Status != Exited || exit.Code != 0 {
			t.Fatalf("%+v %v", exit, err)
		}
		alive.gone(t)
	}},
	{"cancel", func(t *testing.T, r *Runner) {
		ctx, cancel := context.WithCancel(t.Context())
		exit, err := r.Run(ctx, Spec{Argv: []string{"sh", "-c", "echo started; sleep 1000"}, Env: map[string]string{"PATH": "/usr/bin"}, Dir: "/",
			Log: writerFunc(func(p []byte) { cancel() })})
		if err != nil || exit.Status != Cancelled {
			t.Fatalf("%+v %v", exit, err)
		}
	}},
	{"log limit", func(t *testing.T, r *Runner) {
		exit, log := sh(t, r, "yes | head -c 100000000; sleep 1000", Limits{LogBytes: 10000})
		if exit.Status != LogTooLarge || len(log) != 10000 {
			t.Fatalf("%+v, %d bytes", exit, len(log))
		}
	}},
	{"output limit", func(t *testing.T, r *Runner) {
		out := t.TempDir()
		exit, err := r.Run(t.Context(), Spec{
			Argv:   []string{"sh", "-c", "i=0; while [ $i -lt 8 ]; do head -c 900000 /dev/zero > /build/out/$i; i=$((i+1)); done; sleep 1000"},
			Env:    map[string]string{"PATH": "/usr/bin:/bin"},
			Dir:    "/",
			Mounts: []Mount{{Source: out, Target: "/build/out", Writable: true}},
			Limits: Limits{OutputBytes: 1 << 20},
		})
		if err != nil || exit.Status != OutputTooLarge {
			t.Fatalf("%+v %v", exit, err)
		}
		if exit, log := sh(t, r, "head -c 3000000 /dev/zero > /tmp/f; echo $?", Limits{OutputBytes: 1 << 20}); !strings.Contains(log, "153") {
			t.Fatalf("%+v %s", exit, log)
		}
	}},
	{"a fork bomb ends, and says why", func(t *testing.T, r *Runner) {
		exit, log := sh(t, r, `perl -e '1 while defined fork; exit 1'`, Limits{Processes: 60})
		if exit.Status != Exited || exit.Code == 0 {
			t.Fatalf("%+v %s", exit, log)
		}
		if counted(r, "pids") && exit.Limit != "processes" {
			t.Fatalf("the limit it met is %q", exit.Limit)
		}
	}},
	{"memory of all processes together", func(t *testing.T, r *Runner) {
		if !counted(r, "memory") {
			return // bounded by each process, see below
		}
		exit, log := sh(t, r, `perl -e 'for (1..4) { if (!fork) { $x = "a" x (60 << 20); sleep 100; exit } } wait; exit 1'`, Limits{Memory: 100 << 20})
		if exit.Status != Exited || exit.Code == 0 || exit.Limit != "memory" {
			t.Fatalf("%+v %s", exit, log)
		}
		// The next run has the same group, and all of its memory.
		if exit, log := sh(t, r, `perl -e '$x = "a" x (30 << 20)'`, Limits{Memory: 100 << 20}); exit.Code != 0 || exit.Limit != "" {
			t.Fatalf("%+v %s", exit, log)
		}
	}},
	{"processor time", func(t *testing.T, r *Runner) {
		exit, log := sh(t, r, `perl -e '1 while 1' & perl -e '1 while 1' & wait; exit 5`, Limits{CPU: time.Second})
		if exit.Status != Exited || exit.Code == 0 {
			t.Fatalf("%+v %s", exit, log)
		}
	}},
	{"without a sandbox", func(t *testing.T, r *Runner) {
		in, out := t.TempDir(), t.TempDir()
		if err := os.WriteFile(filepath.Join(in, "f"), []byte("in\n"), 0o444); err != nil {
			t.Fatal(err)
		}
		t.Setenv("SECRET", "x")
		var log bytes.Buffer
		spec := Spec{
			Argv: []string{"sh", "-c", `cat deps/in/f; rm -f deps/in/f; echo made > out/g; env | sed -n 's/^\(SECRET\|A\)=/&/p'; [ "$HOME" != /tmp/home ] && [ -d "$HOME" ] || echo "HOME $HOME"; exit 4`},
			Env:  map[string]string{"PATH": "/usr/bin:/bin", "A": "b c", "HOME": "/tmp/home"}, Dir: "/build", Unconfined: true, Log: &log,
			Mounts: []Mount{{Source: in, Target: "/build/deps/in"}, {Source: out, Target: "/build/out", Writable: true}},
		}
		exit, err := r.Run(t.Context(), spec)
		if err != nil || exit.Status != Exited || exit.Code != 4 || log.String() != "in\nA=b c\n" {
			t.Fatalf("%+v %v %s", exit, err, &log)
		}
		for file, want := range map[string]string{filepath.Join(in, "f"): "in\n", filepath.Join(out, "g"): "made\n"} {
			if got, err := os.ReadFile(file); err != nil || string(got) != want {
				t.Errorf("%s: %q %v", file, got, err)
			}
		}
		if left, err := filepath.Glob(filepath.Join(r.cfg.Dir, "plain-*")); err != nil || len(left) > 0 {
			t.Errorf("left %q", left)
		}
		spec.Root = in
		if _, err := r.Run(t.Context(), spec); !slipway.Is(err, slipway.Unavailable) {
			t.Error(err)
		}
	}},
	{"without a sandbox its processes end too", func(t *testing.T, r *Runner) {
		alive := newAlive(t)
		exit, err := r.Run(t.Context(), Spec{Argv: []string{"sh", "-c", strings.ReplaceAll(alive.script, "/build/", "") + "; sleep 1000"}, Env: map[string]string{"PATH": "/usr/bin:/bin"},
			Dir: "/build", Unconfined: true, Mounts: alive.mounts, Limits: Limits{Wall: time.Second}})
		if err != nil || exit.Status != TimedOut {
			t.Fatalf("%+v %v", exit, err)
		}
		alive.gone(t)
	}},
	{"says how it bounds", func(t *testing.T, r *Runner) {
		if said := r.Bounds(); !strings.Contains(said, "processes") || !strings.HasPrefix(said, "bounded for a whole run: ") {
			t.Fatal(said)
		}
	}},
	{"fork bomb", func(t *testing.T, r *Runner) {
		exit, log := sh(t, r, `n=0; while [ $n -lt 200 ]; do sleep 100 & n=$((n+1)); done`, Limits{Processes: 50})
		if exit.Status != Exited || exit.Code == 0 || !strings.Contains(log, "fork") {
			t.Fatalf("%+v %s", exit, log)
		}
	}},
	{"memory limit", func(t *testing.T, r *Runner) {
		if exit, log := sh(t, r, `perl -e '$x = "a" x (200 << 20); print "GOT IT"'`, Limits{Memory: 100 << 20}); exit.Code == 0 || strings.Contains(log, "GOT IT") {
			t.Fatalf("%+v %s", exit, log)
		}
	}},
	{"temp limit", func(t *testing.T, r *Runner) {
		if exit, log := sh(t, r, `head -c 3000000 /dev/zero > /tmp/f`, Limits{TempBytes: 1 << 20}); exit.Code == 0 || !strings.Contains(log, "No space") {
			t.Fatalf("%+v %s", exit, log)
		}
	}},
}

func TestSandbox(t *testing.T) {
	dir := os.Getenv(asUser)
	if dir == "" {
		dir = t.TempDir()
		// Nobody but its owner may enter the data folder.
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r, err := New(filepath.Join(dir, "sandbox"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range suite {
		t.Run(c.name, func(t *testing.T) { c.test(t, r) })
	}
}

// TestSandboxAsUser runs TestSandbox again in a process that is no root.
func TestSandboxAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return // TestSandbox did it
	}
	const uid = 65534
	dir, err := os.MkdirTemp("", "sandbox-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "sandbox.test")
	if err := os.WriteFile(bin, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, "-test.run=^TestSandbox$", "-test.v")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "HOME=" + dir, asUser + "=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("PASS: TestSandbox/fork_bomb")) {
		t.Fatalf("the suite did not run:\n%s", out)
	}
}

// TestFullDisk fills a small disk: that is not the command's fault, and the error names the folder.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		return // nobody else can mount a small disk
	}
	out := t.TempDir()
	if err := unix.Mount("small", out, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(out, 0); err != nil {
			t.Error(err)
		}
	}()
	r, err := New(filepath.Join(t.TempDir(), "sandbox"))
	if err != nil {
		t.Fatal(err)
	}
	spec := Spec{Argv: []string{"sh", "-c", "head -c 9000000 /dev/zero > f"}, Env: map[string]string{"PATH": "/usr/bin"}, Dir: "/build/out", Mounts: []Mount{{Source: out, Target: "/build/out", Writable: true}}}
	if _, err := r.Run(t.Context(), spec); !slipway.Is(err, slipway.Unavailable) || !strings.Contains(err.Error(), "the disk is full") || !strings.Contains(err.Error(), out) {
		t.Fatalf("%v", err)
	}
	spec.Argv = []string{"sh", "-c", "rm f; exit 3"}
	if exit, err := r.Run(t.Context(), spec); err != nil || exit.Code != 3 {
		t.Fatalf("%+v %v", exit, err)
	}
}

// TestDiesWithParent kills a process that runs a sandbox, and sees the sandbox go too.
func TestDiesWithParent(t *testing.T) {
	if dir := os.Getenv("SLIPWAY_SANDBOX_TEST_FIFO"); dir != "" {
		r, err := New(filepath.Join(dir, "sandbox"))
		if err != nil {
			t.Fatal(err)
		}
		script, mounts := aliveIn(dir)
		_, err = r.Run(t.Context(), Spec{Argv: []string{"sh", "-c", script + "; wait"}, Env: map[string]string{"PATH": "/usr/bin:/bin"}, Dir: "/", Mounts: mounts})
		t.Fatal("ended:", err)
	}
	alive := newAlive(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestDiesWithParent$")
	cmd.Env = append(os.Environ(), "SLIPWAY_SANDBOX_TEST_FIFO="+filepath.Dir(alive.mounts[0].Source))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	alive.started(t)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	alive.gone(t)
}

// counted reports whether this process may make control groups.
func counted(r *Runner, controller string) bool { return r.groups.at.base[controller] != "" }

// tinyRoot is a root filesystem with a few programs of the host.
func tinyRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, d := range []string{"usr/bin", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	needed := map[string]bool{}
	for _, tool := range []string{"sh", "cat", "ls", "touch"} {
		file, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		copyFile(t, file, filepath.Join(root, "usr/bin", tool))
		out, err := exec.Command("ldd", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range strings.Fields(string(out)) {
			if strings.HasPrefix(word, "/") {
				needed[word] = true
			}
		}
	}
	for lib := range needed {
		copyFile(t, lib, filepath.Join(root, lib))
	}
	if err := os.Symlink("usr/bin", filepath.Join(root, "bin")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/made"), []byte("made\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("made", filepath.Join(root, "etc/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0::/:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

// libs are the top folders of the libraries, each with a blank behind.
func libs(root string) (out string) {
	for _, name := range []string{"lib", "lib32", "lib64"} {
		if exists(filepath.Join(root, name)) {
			out += name + " "
		}
	}
	return out
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// alive watches a background process inside the sandbox by a FIFO that it holds open for writing.
type alive struct {
	script string
	mounts []Mount
	fifo   *os.File
}

func aliveIn(dir string) (string, []Mount) {
	return "sh -c 'exec sleep 1000' > /build/alive/fifo 2>&1 < /dev/null & while ! [ -e /proc/$! ]; do :; done; echo up > /build/alive/fifo",
		[]Mount{{Source: filepath.Join(dir, "alive"), Target: "/build/alive", Writable: true}}
}

func newAlive(t *testing.T) *alive {
	dir := t.TempDir()
	script, mounts := aliveIn(dir)
	if err := os.Mkdir(filepath.Join(dir, "alive"), 0o777); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "alive", "fifo")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &alive{script, mounts, f}
}

// started waits until the process inside has begun.
func (a *alive) started(t *testing.T) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(a.fifo.Fd()), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 30_000); n != 1 || err != nil {
		t.Fatalf("nothing started: %d %v", n, err)
	}
}

// gone fails unless the process inside started and everybody who held the FIFO is gone within a moment.
func (a *alive) gone(t *testing.T) {
	t.Helper()
	fd := int(a.fifo.Fd())
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	done := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(a.fifo)
		done <- all
	}()
	select {
	case all := <-done:
		if !bytes.Contains(all, []byte("up")) {
			t.Fatalf("it never started: %q", all)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a process outlived its sandbox")
	}
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

// sh runs a script in an otherwise empty sandbox and returns how it ended and what it said.
func sh(t *testing.T, r *Runner, script string, limits Limits) (Exit, string) {
	t.Helper()
	var log bytes.Buffer
	if limits.Wall == 0 {
		limits.Wall = time.Minute
	}
	exit, err := r.Run(t.Context(), Spec{
		Argv:   []string{"sh", "-c", script},
		Env:    map[string]string{"PATH": "/usr/bin:/bin", "A": "b c"},
		Dir:    "/",
		Limits: limits,
		Log:    &log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return exit, log.String()
}

func BenchmarkRun(b *testing.B) {
	r, err := New(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer processor(b)()
	for b.Loop() {
		if exit, err := r.Run(b.Context(), Spec{Argv: []string{"true"}, Dir: "/"}); err != nil || exit.Code != 0 {
			b.Fatal(exit, err)
		}
	}
}

// processor reports, besides the time, the processor time of each operation, with that of the processes it ran: the machine may be busy
// with something else.
func processor(b *testing.B) (done func()) {
	used := func() (sum time.Duration) {
		for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
			var u unix.Rusage
			if err := unix.Getrusage(who, &u); err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
		return sum
	}
	begin := used()
	return func() { b.ReportMetric(float64((used()-begin).Nanoseconds())/float64(b.N), "cpu-ns/op") }
}
