package model_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/deploy/model"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// input is a product with two configurations and three nodes, and the given files in its repository.
func input(files map[string]string) model.Input {
	manifest := func(configuration, version string) slipway.Manifest {
		return slipway.Manifest{Product: "ferry", Configuration: configuration, Components: map[string]slipway.Locked{
			"edged":  {Version: version, Commit: strings.Repeat("a", 40), Artifact: "sha256:e" + version},
			"libfoo": {Version: "1.0.0", Commit: strings.Repeat("b", 40), Artifact: "sha256:f"},
		}}
	}
	return model.Input{
		File: "deploy/model.star",
		Read: func(p string) ([]byte, error) {
			if s, ok := files[p]; ok {
				return []byte(s), nil
			}
			return nil, slipway.Errorf(slipway.NotFound, "no file %s at v2026.11.3", p)
		},
		Product: spec.Product{Name: "ferry", Params: map[string]string{"log": "info", "zone": "all"}, Configurations: map[string]spec.Configuration{
			"edge": {Nodes: map[string]string{"role": "edge"}, Params: map[string]string{"log": "debug"}},
			"core": {Nodes: map[string]string{"role": "core"}},
		}},
		Release: slipway.Release{ID: "ferry-v2026.11.3", Product: "ferry", Tag: "v2026.11.3", Commit: strings.Repeat("c", 40),
			Manifests: map[string]slipway.Manifest{"edge": manifest("edge", "1.2.0"), "core": manifest("core", "1.3.0")}},
		Nodes: []slipway.Node{
			{Name: "edge-2", Labels: map[string]string{"role": "edge", "rack": "b"}, Facts: map[string]string{"port": "8082"}},
			{Name: "edge-1", Labels: map[string]string{"role": "edge", "rack": "a"}, Facts: map[string]string{"port": "8081", "root": "/srv/one"}},
			{Name: "core-1", Labels: map[string]string{"role": "core"}},
			{Name: "other", Labels: map[string]string{}},
		},
		ComposeID: "ferry-v2026.11.3", ComposeURL: "http://localhost/composes/ferry-v2026.11.3", ComposeKey: "the compose's key",
	}
}

func one(source string) model.Input {
	return input(map[string]string{"deploy/model.star": source, "conf/motd": "welcome\n"})
}

const whole = `load("deploy/lib.star", "edged")

for n in nodes(configuration="edge"):
    edged(n)
for n in nodes("core"):
    n.package("ferry-tools", version=release.version("libfoo"), repo=compose.url + "/rpm")
    n.service("sshd", unit="[Service]\nExecStart=/usr/sbin/sshd -D\n")
    n.exec("seed", command="echo seed > /var/seed", creates="/var/seed")
`

const lib = `def edged(n):
    etc = n.directory("/etc/edged", mode="0750")
    conf = n.file("/etc/edged/edged.conf", content="port=%s log=%s tag=%s v=%s\n" % (
        n.facts["port"], n.params["log"], release.tag, n.version("edged")), requires=[etc])
    bin = n.artifact("/opt/edged", component="edged", subpath="bin")
    motd = n.file("/etc/motd", source="conf/motd", mode=0o600)
    p = n.process("edged", command=[bin.path + "/edged", "-c", conf.path], env={"TAG": release.tag},
        health="http://127.0.0.1:" + n.facts["port"] + "/healthz", timeout="20s", requires=[bin, conf])
    p.require(motd)
`

func compile(t *testing.T, in model.Input) model.Result {
	t.Helper()
	got, err := model.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func find(t *testing.T, r model.Result, id string) plan.Resource {
	t.Helper()
	for _, x := range r.Resources[plan.NodeOf(id)] {
		if x.ID == id {
			return x
		}
	}
	t.Fatalf("no resource %s in %v", id, r.Nodes)
	return plan.Resource{}
}

func TestCompileTypedResources(t *testing.T) {
	got := compile(t, input(map[string]string{"deploy/model.star": whole, "deploy/lib.star": lib, "conf/motd": "welcome\n"}))
	if !reflect.DeepEqual(got.Nodes, []string{"core-1", "edge-1", "edge-2"}) || got.Total != 13 {
		t.Fatalf("nodes %v, %d resources", got.Nodes, got.Total)
	}
	if !reflect.DeepEqual(got.Files, []string{"conf/motd", "deploy/lib.star", "deploy/model.star"}) {
		t.Errorf("files %v", got.Files)
	}
	conf, err := plan.Attributes[plan.File](find(t, got, "edge-1/file[/etc/edged/edged.conf]"))
	if err != nil || string(conf.Content) != "port=8081 log=debug tag=v2026.11.3 v=1.2.0\n" || conf.Mode != 0o644 {
		t.Errorf("conf %q %o %v", conf.Content, conf.Mode, err)
	}
	proc := find(t, got, "edge-1/process[edged]")
	if proc.Position != "deploy/lib.star:7:18" {
		t.Errorf("position %s", proc.Position)
	}
	if !reflect.DeepEqual(proc.Requires, []string{"edge-1/artifact[/opt/edged]", "edge-1/file[/etc/edged/edged.conf]", "edge-1/file[/etc/motd]"}) {
		t.Errorf("requires %v", proc.Requires)
	}
	attrs, _ := plan.Attributes[plan.Process](proc)
	if want := []string{"/srv/one/opt/edged/edged", "-c", "/srv/one/etc/edged/edged.conf"}; !reflect.DeepEqual(attrs.Command, want) || attrs.Timeout != 20 {
		t.Errorf("command %v within %d", attrs.Command, attrs.Timeout)
	}
	other, _ := plan.Attributes[plan.Process](find(t, got, "edge-2/process[edged]"))
	if other.Command[0] != "/opt/edged/edged" {
		t.Errorf("a node without root runs %v", other.Command)
	}
	art, _ := plan.Attributes[plan.Artifact](find(t, got, "edge-1/artifact[/opt/edged]"))
	if art.Digest != "sha256:e1.2.0" || art.Version != "1.2.0" || art.Subpath != "bin" {
		t.Errorf("artifact %+v", art)
	}
	pkg, _ := plan.Attributes[plan.Package](find(t, got, "core-1/package[ferry-tools]"))
	if pkg.Manager != "dnf" || pkg.Version != "1.0.0" || !strings.HasSuffix(pkg.Repo, "/rpm") || pkg.Key != "the compose's key" {
		t.Errorf("package %+v", pkg)
	}
	seen := map[string]bool{}
	for _, r := range got.Resources["edge-1"] {
		for _, q := range r.Requires {
			if !seen[q] {
				t.Errorf("%s comes before %s", r.ID, q)
			}
		}
		seen[r.ID] = true
	}
}

func TestCompileIsPure(t *testing.T) {
	in := input(map[string]string{"deploy/model.star": whole, "deploy/lib.star": lib, "conf/motd": "welcome\n"})
	first := compile(t, in)
	for range 20 {
		in.Nodes = append(in.Nodes[1:], in.Nodes[0]) // the order of nodes is not part of the input
		if again := compile(t, in); !reflect.DeepEqual(first, again) {
			t.Fatal("the same input gave another result")
		}
	}
	in.Release.Tag = "v2026.11.4"
	if compile(t, in).Digest == first.Digest {
		t.Fatal("another release gave the same digest")
	}
}

func TestErrorsSayWhereAndWhatToDo(t *testing.T) {
	cases := []struct{ name, source, where, message string }{
		{"syntax", "for n in nodes(:\n", "deploy/model.star:1:16", "got ':'"},
		{"undefined", "x = 1\nfile('/a', content='')\n", "deploy/model.star:2:1", "n.file(...)"},
		{"two at once", "a(1)\nb(2)\n", "deploy/model.star:1:1", "deploy/model.star:2:1: undefined: b"},
		{"unknown configuration", "nodes('edgy')\n", "deploy/model.star:1:6", `no configuration "edgy" (it has core, edge)`},
		{"unknown component", "for n in nodes('edge'):\n    n.artifact('/opt/x', component='xd')\n", "deploy/model.star:2:15", `no component "xd" (it has edged, libfoo)`},
		{"ambiguous version", "release.version('edged')\n", "deploy/model.star:1:16", "edged is 1.3.0 in core and 1.2.0 in edge"},
		{"duplicate", "def f(n):\n    n.file('/a', content='')\nfor n in nodes('core'):\n    f(n)\n    n.file('/a', content='b')\n", "deploy/model.star:5:11", "core-1/file[/a] is declared twice: here and at deploy/model.star:2:11"},
		{"callers", "def f(n):\n    n.file('a', content='')\nfor n in nodes('core'):\n    f(n)\n", "deploy/model.star:2:11", "called from deploy/model.star:4:6"},
		{"relative path", "[n.file('etc/x', content='') for n in nodes('core')]\n", "deploy/model.star:1:8", "not absolute and clean"},
		{"path escape", "[n.file('/etc/../../x', content='') for n in nodes('core')]\n", "deploy/model.star:1:8", "not absolute and clean"},
		{"subpath escape", "[n.artifact('/a', component='edged', subpath='../x') for n in nodes('core')]\n", "deploy/model.star:1:12", "subpath leaves"},
		{"neither content nor source", "[n.file('/x') for n in nodes('core')]\n", "deploy/model.star:1:8", "either content or source"},
		{"missing source", "[n.file('/x', source='conf/nope') for n in nodes('core')]\n", "deploy/model.star:1:8", "no file conf/nope"},
		{"read escape", "read('../../etc/passwd')\n", "deploy/model.star:1:5", "not a file of the integration repository"},
		{"load escape", "load('../secret.star', 'x')\n", "deploy/model.star:1:1", "not a file of the integration repository"},
		{"load absolute", "load('/etc/passwd', 'x')\n", "deploy/model.star:1:1", "not a file of the integration repository"},
		{"load itself", "load('deploy/model.star', 'x')\n", "deploy/model.star:1:1", "loads itself"},
		{"missing fact", "[n.facts['port'] for n in nodes('core')]\n", "deploy/model.star:1:9", `.get(KEY, DEFAULT)`},
		{"requires a string", "[n.file('/x', content='', requires=['y']) for n in nodes('core')]\n", "deploy/model.star:1:8", "requires holds"},
		{"mode", "[n.file('/x', content='', mode='rw') for n in nodes('core')]\n", "deploy/model.star:1:8", "not a file mode"},
		{"unsigned repository", "[n.package('x', repo='http://vendor/rpm') for n in nodes('core')]\n", "deploy/model.star:1:11", "what is repo \"http://vendor/rpm\" signed with?"},
		{"exec without end", "[n.exec('x', command='true') for n in nodes('core')]\n", "deploy/model.star:1:8", "either creates or unless"},
		{"recursion", "def f(x):\n    return f(x)\nf(1)\n", "deploy/model.star:2:12", "no recursion"},
		{"while", "while True:\n    pass\n", "deploy/model.star:1:1", "while"},
		{"fail", "fail('no good')\n", "deploy/model.star:1:5", "no good"},
		{"cycle", "for n in nodes('core'):\n    a = n.file('/a', content='')\n    b = n.file('/b', content='', requires=[a])\n    a.require(b)\n",
			"deploy/model.star:2:15", "core-1/file[/a] -> core-1/file[/b] -> core-1/file[/a]"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := model.Compile(one(c.source))
			var e *slipway.Error
			if !errors.As(err, &e) || e.Kind != slipway.Invalid {
				t.Fatalf("error %#v", err)
			}
			if e.Where != c.where || !strings.Contains(e.Error(), c.message) {
				t.Errorf("got  %s\nwant %s: ...%s...", e, c.where, c.message)
			}
		})
	}
}

func TestErrorInLoadedFileHasItsPosition(t *testing.T) {
	_, err := model.Compile(input(map[string]string{"deploy/model.star": "load('lib.star', 'x')\n", "lib.star": "\nx = 1 // 0\n"}))
	if err == nil || !strings.HasPrefix(err.Error(), "lib.star:2:7: ") {
		t.Fatalf("error %v", err)
	}
}

func TestStepLimit(t *testing.T) {
	in := one("def f():\n    for i in range(1000000000):\n        pass\nf()\n")
	in.MaxSteps = 100_000
	_, err := model.Compile(in)
	if err == nil || !strings.Contains(err.Error(), "too many steps") || !strings.HasPrefix(err.Error(), "deploy/model.star:") {
		t.Fatalf("error %v", err)
	}
}

func TestNodeInTwoConfigurationsMustBeAskedFor(t *testing.T) {
	in := one("nodes()\n")
	in.Nodes[0].Labels = map[string]string{"role": "edge"}
	in.Product.Configurations["all"] = spec.Configuration{Nodes: map[string]string{"role": "edge"}}
	if _, err := model.Compile(in); err == nil || !strings.Contains(err.Error(), "belongs to the configurations all and edge") {
		t.Fatalf("error %v", err)
	}
	in = one("[print(n.name, n.configuration) for n in nodes(rack='a')]\n")
	if got := compile(t, in); !reflect.DeepEqual(got.Output, []string{"deploy/model.star:1:7: edge-1 edge"}) {
		t.Fatalf("output %v", got.Output)
	}
}

func BenchmarkCompile100k(b *testing.B) {
	in := one(`
for n in nodes("edge"):
    bin = n.artifact("/opt/edged", component="edged")
    conf = n.file("/etc/edged.conf", content="port=%s tag=%s\n" % (n.facts["port"], release.tag))
    dir = n.directory("/var/lib/edged")
    n.process("edged", command=[bin.path + "/edged", "-c", conf.path], requires=[bin, conf, dir])
`)
	in.Nodes = nil
	for i := range 25_000 {
		in.Nodes = append(in.Nodes, slipway.Node{Name: fmt.Sprintf("edge-%05d", i), Labels: map[string]string{"role": "edge"}, Facts: map[string]string{"port": "8080"}})
	}
	b.ReportAllocs()
	for b.Loop() {
		got, err := model.Compile(in)
		if err != nil || got.Total != 100_000 {
			b.Fatal(got.Total, err)
		}
	}
}
