package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/deploy/model"
)

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What init writes is valid, builds, passes its test, and compiles.
func TestInit(t *testing.T) {
	s, dir := newShell(t), filepath.Join(t.TempDir(), "greeter")
	out, errOut, status := s.run("", "init", dir)
	if status != 0 || !strings.Contains(out, "README.md says what to do next") {
		t.Fatal(status, out, errOut)
	}
	product, err := spec.ParseProduct(read(t, filepath.Join(dir, "product/product.yaml")), "product.yaml")
	if err != nil || product.Name != "greeter" {
		t.Fatal(product.Name, err)
	}
	component, err := spec.ParseComponent(read(t, filepath.Join(dir, "hello/slipway.yaml")), "slipway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := product.Components[component.Name]; !ok {
		t.Errorf("the component %s is not of the product", component.Name)
	}
	for _, file := range product.Configurations["home"].Experiments {
		if _, err := spec.ParseExperiment(read(t, filepath.Join(dir, "product", file)), file); err != nil {
			t.Error(err)
		}
	}
	compiled, err := model.Compile(model.Input{
		File:    product.Deploy.Model,
		Read:    func(p string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, "product", p)) },
		Product: product,
		Nodes:   []slipway.Node{{Name: "home-1", Labels: map[string]string{"site": "home"}, Online: true}},
		Release: slipway.Release{ID: "greeter-v1", Tag: "v1", Manifests: map[string]slipway.Manifest{"home": {Product: "greeter", Configuration: "home",
			Components: map[string]slipway.Locked{"hello": {Version: "1.0.0", Artifact: "sha256:" + strings.Repeat("0", 64)}}}}},
	})
	if err != nil || len(compiled.Resources["home-1"]) != 2 {
		t.Errorf("%+v %v", compiled, err)
	}
	built := t.TempDir()
	for _, script := range []string{component.Build.Run, component.Tests["unit"].Run} {
		cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-c", script)
		cmd.Dir, cmd.Env = filepath.Join(dir, "hello"), append(os.Environ(), "OUT="+built)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s\n%s%v", script, out, err)
		}
	}
	for _, o := range component.Outputs {
		read(t, filepath.Join(built, o))
	}

	before := read(t, filepath.Join(dir, "README.md"))
	if _, errOut, status := s.run("", "init", dir, "--product", "other"); status != 4 || !strings.Contains(errOut, "already") {
		t.Error(status, errOut)
	}
	if string(read(t, filepath.Join(dir, "README.md"))) != string(before) {
		t.Error("init changed a file that was there")
	}
	if _, _, status := s.run("", "init", filepath.Join(t.TempDir(), "x"), "--product", "No Name"); status != 2 {
		t.Error(status)
	}
}
