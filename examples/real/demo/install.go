package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// install lets the real dnf and the real apt install a release's packages into scratch roots, and runs what is installed.
func (s *story) install(ctx context.Context) error {
	releases, err := s.releases(ctx)
	if err != nil {
		return err
	}
	base := s.url + "/composes/" + releases[0].ID
	dnf, err := s.dnf(ctx, base, "node-exporter")
	if err != nil {
		return err
	}
	if err := s.version(ctx, filepath.Join(dnf, "usr/bin/node_exporter"), begunWith["node-exporter"]); err != nil {
		return err
	}
	apt, err := s.apt(ctx, base, "statsd-exporter")
	if err != nil {
		return err
	}
	return s.version(ctx, filepath.Join(apt, "usr/bin/statsd_exporter"), begunWith["statsd-exporter"])
}

// dnf installs a package into a root of its own, which it returns.
func (s *story) dnf(ctx context.Context, base, pkg string) (root string, err error) {
	dir := filepath.Join(s.dir, "dnf")
	repo, err := get(ctx, base+"/"+product+".repo")
	if err != nil {
		return "", err
	}
	conf := fmt.Sprintf("[main]\nreposdir=%[1]s/repos\ncachedir=%[1]s/cache\nlogdir=%[1]s/log\npersistdir=%[1]s/persist\nassumeyes=1\n", dir)
	if err := writeFiles(dir, map[string]string{"dnf.conf": conf, "repos/" + product + ".repo": repo}); err != nil {
		return "", err
	}
	root = filepath.Join(dir, "root")
	fmt.Printf("\n  $ curl -fsSLO %s/%s.repo && dnf install %s\n", base, product, pkg)
	return root, s.asRoot(ctx, "dnf", "-c", filepath.Join(dir, "dnf.conf"), "--installroot="+root, "--releasever=1", "install", pkg)
}

// apt installs a package into a root of its own, which it returns.
func (s *story) apt(ctx context.Context, base, pkg string) (root string, err error) {
	dir := filepath.Join(s.dir, "apt")
	sources, err := get(ctx, base+"/"+product+".sources")
	if err != nil {
		return "", err
	}
	root = filepath.Join(dir, "root")
	for _, sub := range []string{"etc/preferences.d", "etc/apt.conf.d", "etc/trusted.gpg.d", "state/lists/partial", "cache/archives/partial", "log",
		"root/var/lib/dpkg/info", "root/var/lib/dpkg/updates", "root/var/lib/dpkg/triggers"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return "", err
		}
	}
	conf := fmt.Sprintf(`Dir::Etc "%[1]s/etc"; Dir::Etc::parts "%[1]s/etc/apt.conf.d"; Dir::State "%[1]s/state"; Dir::Cache "%[1]s/cache";
Dir::Log "%[1]s/log"; Dir::State::status "%[1]s/root/var/lib/dpkg/status"; APT::Architecture "amd64"; APT::Architectures { "amd64"; };
APT::Sandbox::User "root"; DPkg::Options { "--root=%[1]s/root"; "--force-not-root"; "--force-script-chrootless"; "--log=/dev/null"; };
Acquire::Languages "none"; APT::Get::Assume-Yes "true"; DPkg::Use-Pty "false";
`, dir)
	files := map[string]string{"apt.conf": conf, "etc/sources.list.d/" + product + ".sources": sources, "root/var/lib/dpkg/status": ""}
	if err := writeFiles(dir, files); err != nil {
		return "", err
	}
	fmt.Printf("\n  $ curl -fsSLO %s/%s.sources && apt-get update && apt-get install %s\n", base, product, pkg)
	config := "APT_CONFIG=" + filepath.Join(dir, "apt.conf")
	if err := s.asRoot(ctx, "env", config, "apt-get", "update"); err != nil {
		return "", err
	}
	return root, s.asRoot(ctx, "env", config, "apt-get", "install", pkg)
}

// asRoot runs a program as root, or as root of a user namespace of its own.
func (s *story) asRoot(ctx context.Context, name string, args ...string) error {
	args = append([]string{name}, args...)
	if os.Getuid() != 0 {
		args = append([]string{"unshare", "--map-root-user"}, args...)
	}
	path := "PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"
	_, err := s.run(ctx, s.dir, "env", append([]string{"LC_ALL=C", path}, args...)...)
	return err
}

// version runs an installed program and asserts the version that it tells.
func (s *story) version(ctx context.Context, program, version string) error {
	out, err := s.run(ctx, s.dir, program, "--version")
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(out, "\n")
	fmt.Printf("    %s\n", line)
	return contains(line, "version "+version+" ")
}

// writeFiles writes files (path below dir -> text).
func writeFiles(dir string, files map[string]string) error {
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
