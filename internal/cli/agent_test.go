package cli

import "testing"

// TestTargetDir: only the agent in the default folder may touch the machine without being told to.
func TestTargetDir(t *testing.T) {
	t.Chdir("/tmp")
	for _, c := range []struct{ root, target, want string }{
		{agentRoot, "", "/"},
		{agentRoot + "/", "", "/"},
		{agentRoot, "/srv/fs", "/srv/fs"},
		{"/tmp/edge-1", "", "/tmp/edge-1/fs"},
		{"edge-1", "", "/tmp/edge-1/fs"},
		{"edge-1", "fs", "/tmp/fs"},
		{"/tmp/edge-1", "/", "/"},
	} {
		got, err := agentOptions{root: c.root, target: c.target}.targetDir()
		if err != nil || got != c.want {
			t.Errorf("--root %q --target %q deploys below %q (%v), want %q", c.root, c.target, got, err, c.want)
		}
	}
}
