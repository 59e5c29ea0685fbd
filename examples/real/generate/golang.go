package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Module is one version of a module as the go command got it.
type Module struct {
	Path, Version string
	Dir           string // unpacked, read-only
	Info, Zip     string // files of the module cache
	Error         string // why it was not got
	Time          time.Time
}

// download gets one version of a module into the go command's module cache. A version that the proxy does not serve is
// not an error: Module.Error says so.
func download(ctx context.Context, path, version string) (Module, error) {
	out, err := run(ctx, "", nil, "go", "mod", "download", "-json", path+"@v"+version)
	var m Module
	if jsonErr := json.Unmarshal(out, &m); jsonErr != nil {
		return m, errors.Join(err, jsonErr)
	}
	if m.Error != "" {
		return m, nil
	}
	info, err := os.ReadFile(m.Info)
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(info, &m)
}

// run runs a program in dir with env added to this process's environment, and returns its standard output.
func run(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s %s (in %s): %w\n%s", name, strings.Join(args, " "), dir, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// goEnv returns a variable of the go command.
func goEnv(ctx context.Context, name string) (string, error) {
	out, err := run(ctx, "", nil, "go", "env", name)
	return strings.TrimSpace(string(out)), err
}
