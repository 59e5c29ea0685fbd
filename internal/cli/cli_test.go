package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/edge/httpapi/httpapitest"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// Every command says what it is for, and every one that runs shows how.
func TestEveryCommandHasExamples(t *testing.T) {
	var walk func(c *cobra.Command)
	seen := 0
	walk = func(c *cobra.Command) {
		seen++
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its short text is empty or ends with a dot", c.CommandPath())
		}
		if c.Runnable() && !strings.Contains(c.Example, "slipway") {
			t.Errorf("%s has no example", c.CommandPath())
		}
		if c.Runnable() && c.Args == nil {
			t.Errorf("%s does not say which arguments it takes", c.CommandPath())
		}
		if c.HasParent() && !c.Parent().HasParent() && c.GroupID == "" && !c.Hidden {
			t.Errorf("%s is in no group", c.CommandPath())
		}
		for _, child := range c.Commands() {
			walk(child)
		}
	}
	walk((&app{}).root())
	if seen < 15 {
		t.Errorf("only %d commands", seen)
	}
}

type shell struct {
	t   *testing.T
	env map[string]string
}

// run runs one command line and returns what it printed and its exit status.
func (s shell) run(stdin string, args ...string) (out, errOut string, status int) {
	s.t.Helper()
	var o, e bytes.Buffer
	status = Main(s.t.Context(), args, strings.NewReader(stdin), &o, &e, func(k string) string { return s.env[k] })
	return o.String(), e.String(), status
}

func newShell(t *testing.T) shell { return shell{t, map[string]string{"HOME": t.TempDir()}} }

func TestAnAdministratorsDay(t *testing.T) {
	db := storetest.Open(t)
	srv := httpapitest.Serve(t, db, nil)
	s := newShell(t)
	must := func(want string, args ...string) string {
		t.Helper()
		out, errOut, status := s.run("", args...)
		if status != 0 || !strings.Contains(out, want) {
			t.Fatalf("slipway %s: status %d, want %q in:\n%s%s", strings.Join(args, " "), status, want, out, errOut)
		}
		return out
	}
	if _, errOut, status := s.run("", "whoami", "--server", srv.URL); status != 5 || !strings.Contains(errOut, "try: ") {
		t.Errorf("without a token: %d %s", status, errOut)
	}
	if out, errOut, status := s.run(srv.Token(auth.Admin)+"\n", "login", srv.URL); status != 0 || !strings.Contains(out, "admin at "+srv.URL) {
		t.Fatal(status, out, errOut)
	}
	config := filepath.Join(s.env["HOME"], ".config/slipway/config.json")
	if info, err := os.Stat(config); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	must("admin", "whoami")
	must("developer", "user", "set", "ada", "--role", "developer", "--email", "ada@example.org")
	must("gatekeeper", "user", "set", "ada", "--role", "gatekeeper")
	must("ada@example.org", "user", "list")

	secret := strings.TrimSpace(must("slw_", "token", "create", "ci", "--user", "ada", "--expires", "1h"))
	var id auth.Identity
	if err := json.Unmarshal([]byte(must("", "whoami", "--token", secret, "-o", "json")), &id); err != nil || id.User != "ada" || id.Role != auth.Gatekeeper {
		t.Errorf("%+v %v", id, err)
	}
	must("good", "token", "list", "--user", "ada")
	must("revoked "+id.Token, "token", "revoke", id.Token)
	if _, _, status := s.run("", "whoami", "--token", secret); status != 5 {
		t.Errorf("a revoked token: %d", status)
	}

	var events []slipway.Event
	if err := yaml.Unmarshal([]byte(must("auth.token.revoked", "events", "--subject", "user/ada", "-o", "yaml")), &[]any{}); err != nil {
		t.Error(err)
	}
	if err := json.Unmarshal([]byte(must("", "events", "--subject", "user/ada", "--limit", "2", "-o", "json")), &events); err != nil || len(events) != 2 || events[1].Type != slipway.TokenRevoked {
		t.Errorf("%v %v", events, err)
	}

	err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.Wake(t.Context(), "test.kind", "7", time.Time{}) })
	if err != nil {
		t.Fatal(err)
	}
	must("test.kind", "jobs", "list")
	must("runs again", "jobs", "retry", "test.kind", "7")

	for status, args := range map[int][]string{
		2: {"user", "show"},
		3: {"user", "show", "nobody"},
		4: {"user", "set", "admin", "--disable"},
		6: {"jobs", "retry", "x", "--token", srv.Token(auth.Developer)},
		8: {"whoami", "--server", "http://127.0.0.1:1", "--token", "slw_x"},
	} {
		if out, errOut, got := s.run("", args...); got != status || !strings.HasPrefix(errOut, "slipway: ") {
			t.Errorf("%v: status %d, not %d: %s%s", args, got, status, out, errOut)
		}
	}
}

func TestWhichServer(t *testing.T) {
	s := newShell(t)
	data := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(s.env["HOME"], ".config/slipway/config.json"), `{"server": "http://config", "token": "slw_config"}`)
	write(filepath.Join(data, contextName), `{"server": "http://data", "data": "`+data+`"}`)
	write(filepath.Join(data, auth.AdminTokenFile), "slw_data\n")
	for _, c := range []struct {
		name, flagServer, flagToken string
		env                         map[string]string
		server, token               string
	}{
		{"the remembered one", "", "", nil, "http://config", "slw_config"},
		{"a folder's", "", "", map[string]string{"SLIPWAY_DATA": data}, "http://data", "slw_data"},
		{"the environment's", "", "", map[string]string{"SLIPWAY_SERVER": "http://env/", "SLIPWAY_TOKEN": "slw_env", "SLIPWAY_DATA": data}, "http://env", "slw_env"},
		{"the flags'", "http://flag", "slw_flag", map[string]string{"SLIPWAY_SERVER": "http://env", "SLIPWAY_TOKEN": "slw_env"}, "http://flag", "slw_flag"},
		{"a token is not told to another server", "http://flag", "", map[string]string{"SLIPWAY_DATA": data}, "http://flag", ""},
		{"but to its own", "http://config", "", nil, "http://config", "slw_config"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := map[string]string{"HOME": s.env["HOME"]}
			for k, v := range c.env {
				env[k] = v
			}
			a := &app{server: c.flagServer, token: c.flagToken, env: func(k string) string { return env[k] }}
			got, err := a.resolve()
			if err != nil || got.Server != c.server || got.Token != c.token {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestGitCredential(t *testing.T) {
	s := newShell(t)
	s.env["SLIPWAY_SERVER"], s.env["SLIPWAY_TOKEN"] = "http://127.0.0.1:8470", "slw_secret"
	ask := func(action, text string) string {
		out, errOut, status := s.run(text, "git-credential", action)
		if status != 0 || errOut != "" {
			t.Errorf("%d %s", status, errOut)
		}
		return out
	}
	if got := ask("get", "protocol=http\nhost=127.0.0.1:8470\n\n"); got != "username=slipway\npassword=slw_secret\n" {
		t.Errorf("%q", got)
	}
	for _, other := range []string{"protocol=https\nhost=127.0.0.1:8470\n", "protocol=http\nhost=example.org\n", ""} {
		if got := ask("get", other); got != "" {
			t.Errorf("told %q to %q", got, other)
		}
	}
	if got := ask("store", "protocol=http\nhost=127.0.0.1:8470\n"); got != "" {
		t.Errorf("%q", got)
	}
}

func TestOutput(t *testing.T) {
	var out, errOut bytes.Buffer
	a := &app{out: &out, errOut: &errOut, format: "table"}
	table := func() *table {
		t := newTable("name", "state", "n")
		t.add("böat", "landed", 1)
		t.add("x", "rejected\nlate", 22)
		return t
	}
	if err := a.print(nil, table); err != nil {
		t.Fatal(err)
	}
	want := "NAME  STATE          N\nböat  landed         1\nx     rejected late  22\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	out.Reset()
	a.format = "yaml"
	v := map[string]any{"a": "true", "n": 1, "list": []string{"x: y", ""}}
	if err := a.print(v, table); err != nil {
		t.Fatal(err)
	}
	back := map[string]any{}
	if err := yaml.Unmarshal(out.Bytes(), &back); err != nil || back["a"] != "true" || fmt.Sprint(back["n"]) != "1" || strings.Contains(out.String(), "{") {
		t.Errorf("%v %v\n%s", back, err, out.String())
	}
	a.format = "xml"
	if err := a.checkFormat(); !slipway.Is(err, slipway.Invalid) {
		t.Error(err)
	}
	a.format, out = "table", bytes.Buffer{}
	a.out = &out
	if err := a.print(nil, emptyTable); err != nil || out.Len() != 0 || errOut.String() != "none\n" {
		t.Errorf("an empty table: %q %q %v", out.String(), errOut.String(), err)
	}
}

func emptyTable() *table { return newTable("name") }

// What is typed wrong ends with status 2 and says how to write it; a verb that does not exist is no request for help.
func TestWrongCommandLines(t *testing.T) {
	s := newShell(t)
	for line, want := range map[string]string{
		"bogus":                     "try: slipway help",
		"repo bogus":                `unknown command "bogus" for "slipway repo"`,
		"repo -o json bogus":        "try: slipway repo --help",
		"repo craete":               "try: slipway repo create",
		"repo bogus --help":         "unknown command",
		"repo create":               "try: slipway repo create NAME; slipway repo create --help tells more",
		"repo show nope":            `"nope" is not the name of a repository`,
		"whoami -o xml":             "use table, json or yaml",
		"up --listen":               "slipway up --help tells more",
		"agent run --name A_B":      `"A_B" cannot be a node's name`,
		"node join-token --label x": "KEY=VALUE",
	} {
		out, errOut, status := s.run("", strings.Fields(line)...)
		if status != 2 || out != "" || !strings.Contains(errOut, want) {
			t.Errorf("slipway %s: status %d, want 2 and %q in:\n%s%s", line, status, want, out, errOut)
		}
	}
	for _, line := range []string{"repo", "repo -o json", "repo --help", "help repo", "repo create --help"} {
		if out, errOut, status := s.run("", strings.Fields(line)...); status != 0 || !strings.Contains(out, "Usage:") {
			t.Errorf("slipway %s: status %d, no help in:\n%s%s", line, status, out, errOut)
		}
	}
}

// A remembered token goes to its own server, however its address is written, and to no other.
func TestRememberedTokenIsForItsServer(t *testing.T) {
	s := newShell(t)
	path := filepath.Join(s.env["HOME"], ".config", "slipway", "config.json")
	if err := writeContext(path, contextFile{Server: "http://a:1/", Token: "secret"}); err != nil {
		t.Fatal(err)
	}
	for server, want := range map[string]string{"": "secret", "http://a:1": "secret", "http://a:1/": "secret", "http://a:12": "", "https://a:1": ""} {
		a := &app{env: func(k string) string { return s.env[k] }, server: server}
		if c, err := a.resolve(); err != nil || c.Token != want || strings.HasSuffix(c.Server, "/") {
			t.Errorf("--server %q: %+v %v, want the token %q", server, c, err, want)
		}
	}
}
