package resource

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

const packageTime = 10 * time.Minute

// packages serialises package managers, which lock the whole system anyway.
type packages struct{ mu sync.Mutex }

// packageHandler installs packages with the node's own manager, into the agent's root. It needs root rights. Only the
// repository that the model names is seen, when it names one.
type packageHandler struct{ host *Host }

func (h packageHandler) tools(attrs plan.Package) error {
	needed := []string{"dnf", "rpm"}
	if attrs.Manager == "apt" {
		needed = []string{"apt-get", "dpkg-query"}
	}
	for _, tool := range needed {
		if !strings.HasPrefix(h.host.command([]string{tool})[0], "/") {
			return slipway.Errorf(slipway.Unavailable, "the node has no %s", tool).Try("install it, or declare the package with another manager")
		}
	}
	return nil
}

func (h packageHandler) scratch() bool { return h.host.root.dir != "/" }

// installed returns the version that is there; "" when none is.
func (h packageHandler) installed(ctx context.Context, attrs plan.Package) (string, error) {
	argv := []string{"rpm", "--root", h.host.root.dir, "-q", "--qf", "%{VERSION}-%{RELEASE}\n", attrs.Name}
	if attrs.Manager == "apt" {
		argv = []string{"dpkg-query", "--admindir=" + h.host.root.prefix() + "/var/lib/dpkg", "-W", "-f", "${db:Status-Abbrev}${Version}\n", attrs.Name}
	}
	out, err := h.host.run(ctx, argv, time.Minute)
	var exit *exec.ExitError
	if errors.As(err, &exit) { // both tools fail so when it is not installed
		return "", nil
	}
	if err != nil {
		return "", slipway.Errorf(slipway.Internal, "%s: %v%s", argv[0], err, said(out))
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	version := lines[len(lines)-1]
	if attrs.Manager == "apt" {
		status, rest, _ := strings.Cut(version, " ")
		if status != "ii" {
			return "", nil
		}
		version = strings.TrimSpace(rest)
	}
	return version, nil
}

// satisfies reports whether an installed version is the wanted one, which may lack the packaging release.
func satisfies(have, want string) bool {
	return have != "" && (want == "" || have == want || strings.HasPrefix(have, want+"-"))
}

func (h packageHandler) Diff(ctx context.Context, w Want) (Diff, error) {
	attrs, err := decode[plan.Package](w)
	if err != nil {
		return Diff{}, err
	}
	if err := h.tools(attrs); err != nil {
		return Diff{}, err
	}
	have, err := h.installed(ctx, attrs)
	if err != nil {
		return Diff{}, err
	}
	var d Diff
	want := attrs.Version
	if want == "" {
		want = "any version"
	}
	switch {
	case have == "":
		d.Absent = true
		d.change("version", "absent", want)
	case !satisfies(have, attrs.Version):
		d.change("version", have, want)
	}
	d.fact("version", have)
	d.fact("manager", attrs.Manager)
	return d, nil
}

func (h packageHandler) Apply(ctx context.Context, w Want) error {
	attrs, err := decode[plan.Package](w)
	if err != nil {
		return err
	}
	if err := h.ready(attrs); err != nil {
		return err
	}
	if attrs.Key != "" {
		err := os.MkdirAll(filepath.Dir(h.keyFile(attrs)), 0o755)
		if err == nil {
			err = WriteState(h.keyFile(attrs), []byte(attrs.Key))
		}
		if err != nil {
			return slipway.Errorf(slipway.Internal, "keep the key of a repository: %w", err)
		}
	}
	h.host.packages.mu.Lock()
	defer h.host.packages.mu.Unlock()
	var steps [][]string
	if attrs.Manager == "apt" {
		if steps, err = h.apt(attrs); err != nil {
			return err
		}
	} else {
		name := attrs.Name
		if attrs.Version != "" {
			name += "-" + attrs.Version
		}
		steps = [][]string{h.dnf(attrs, "install", name)}
		if have, err := h.installed(ctx, attrs); err == nil && have != "" && attrs.Version != "" {
			// Of an installed package dnf's install only ever goes up.
			steps = [][]string{h.dnf(attrs, "install", name), h.dnf(attrs, "downgrade", name)}
		}
	}
	for _, argv := range steps {
		if have, err := h.installed(ctx, attrs); err == nil && satisfies(have, attrs.Version) {
			return nil
		}
		if out, err := h.host.run(ctx, argv, packageTime); err != nil {
			return slipway.Errorf(slipway.Internal, "%s: %v%s", argv[0], err, said(out)).At(attrs.Repo)
		}
	}
	have, err := h.installed(ctx, attrs)
	if err == nil && !satisfies(have, attrs.Version) {
		return slipway.Errorf(slipway.Internal, "%s succeeded, but the node has %q of package %s, not %q", attrs.Manager, have, attrs.Name, attrs.Version).
			Try("see whether the repository has that version")
	}
	return err
}

func (h packageHandler) Purge(ctx context.Context, w Want) error {
	attrs, err := decode[plan.Package](w)
	if err != nil {
		return err
	}
	if h.tools(attrs) != nil { // then it never was installed
		return nil
	}
	have, err := h.installed(ctx, attrs)
	if err != nil || have == "" {
		return err
	}
	if err := h.ready(attrs); err != nil {
		return err
	}
	h.host.packages.mu.Lock()
	defer h.host.packages.mu.Unlock()
	argv := h.dnf(plan.Package{Name: attrs.Name}, "remove", attrs.Name)
	if attrs.Manager == "apt" {
		argv = append(append([]string{"apt-get", "-y"}, h.aptOptions()...), "remove", attrs.Name)
	}
	if out, err := h.host.run(ctx, argv, packageTime); err != nil {
		return slipway.Errorf(slipway.Internal, "%s: %v%s", argv[0], err, said(out))
	}
	return nil
}

func (h packageHandler) ready(attrs plan.Package) error {
	if err := h.tools(attrs); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return slipway.Errorf(slipway.Unavailable, "packages need root rights, and this agent runs as user %d", os.Geteuid()).
			Try("run the agent as root, or deploy the component with artifact")
	}
	return nil
}

// dnf writes a command line.
func (h packageHandler) dnf(attrs plan.Package, verb, what string) []string {
	argv := []string{"dnf", "-y", "--setopt=cachedir=" + filepath.Join(h.host.cfg.State, "dnf"), "--setopt=install_weak_deps=False"}
	if h.scratch() {
		argv = append(argv, "--installroot="+h.host.root.dir, "--releasever=1")
	}
	if attrs.Repo != "" {
		argv = append(argv, "--repofrompath=slipway,"+attrs.Repo, "--repo=slipway", "--refresh")
		if attrs.Key == "" {
			argv = append(argv, "--setopt=slipway.gpgcheck=0")
		} else {
			argv = append(argv, "--setopt=slipway.gpgcheck=1", "--setopt=slipway.gpgkey=file://"+h.keyFile(attrs))
		}
	}
	return append(argv, verb, what)
}

// keyFile is where the key of a package's repository is kept; each key has a file of its own, so that nothing is read half written.
func (h packageHandler) keyFile(attrs plan.Package) string {
	return filepath.Join(h.host.cfg.State, "keys", strings.TrimPrefix(digestOf([]byte(attrs.Key)), "sha256:")+".asc")
}

// signedBy puts a key file into the options of an apt source line: "deb URL main" is "deb [signed-by=FILE] URL main".
func signedBy(line, file string) string {
	kind, rest, _ := strings.Cut(line, " ")
	options, rest, some := strings.Cut(strings.TrimSpace(rest), "]")
	if !some {
		return kind + " [signed-by=" + file + "] " + options
	}
	return kind + " " + options + " signed-by=" + file + "]" + rest
}

// aptOptions point apt at the agent's root.
func (h packageHandler) aptOptions() []string {
	state := filepath.Join(h.host.cfg.State, "apt")
	options := []string{
		"-o", "Dir::State::lists=" + filepath.Join(state, "lists"), "-o", "Dir::Cache=" + filepath.Join(state, "cache"),
		"-o", "APT::Sandbox::User=root", "-o", "APT::Install-Recommends=false", "-o", "Dpkg::Use-Pty=0",
	}
	if h.scratch() {
		root := h.host.root.dir
		options = append(options, "-o", "Dir::State::status="+root+"/var/lib/dpkg/status", "-o", "Dir::State::extended_states="+filepath.Join(state, "extended_states"),
			"-o", "DPkg::Options::=--root="+root, "-o", "DPkg::Options::=--force-script-chrootless", "-o", "Debug::NoLocking=1")
	}
	return options
}

// apt prepares directories and the source line, and writes the command lines.
func (h packageHandler) apt(attrs plan.Package) ([][]string, error) {
	state := filepath.Join(h.host.cfg.State, "apt")
	dirs := []string{filepath.Join(state, "lists", "partial"), filepath.Join(state, "cache", "archives", "partial")}
	if h.scratch() {
		dirs = append(dirs, h.host.root.dir+"/var/lib/dpkg/info", h.host.root.dir+"/var/lib/dpkg/updates", h.host.root.dir+"/var/lib/dpkg/triggers")
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, slipway.Errorf(slipway.Internal, "prepare apt: %w", err)
		}
	}
	if status := h.host.root.prefix() + "/var/lib/dpkg/status"; h.scratch() {
		if _, err := os.Stat(status); gone(err) {
			if err := WriteState(status, nil); err != nil {
				return nil, slipway.Errorf(slipway.Internal, "prepare dpkg: %w", err)
			}
		}
	}
	options := append([]string{"apt-get", "-y", "-q"}, h.aptOptions()...)
	if attrs.Repo != "" {
		list := filepath.Join(state, "slipway.list")
		line := attrs.Repo
		if attrs.Key != "" {
			line = signedBy(line, h.keyFile(attrs))
		}
		if err := WriteState(list, []byte(line+"\n")); err != nil {
			return nil, slipway.Errorf(slipway.Internal, "prepare apt: %w", err)
		}
		options = append(options, "-o", "Dir::Etc::sourcelist="+list, "-o", "Dir::Etc::sourceparts=-")
	}
	name := attrs.Name
	if attrs.Version != "" {
		name += "=" + attrs.Version + "*"
	}
	with := func(more ...string) []string { return append(append([]string(nil), options...), more...) }
	return [][]string{with("update"), with("install", "--allow-downgrades", name)}, nil
}
