package server

import (
	"os"
	"path/filepath"
	"testing"
)

// Jobs are held under a name that is the folder's own, also when a power cut left the file with it empty.
func TestTheOwnersName(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "owner"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	name, err := ownerOf(dir)
	if err != nil || name == "" {
		t.Fatalf("the owner is %q, %v", name, err)
	}
	if again, err := ownerOf(dir); err != nil || again != name {
		t.Errorf("at the next start it is %q, %v; want %q", again, err, name)
	}
	if other, err := ownerOf(t.TempDir()); err != nil || other == name {
		t.Errorf("another folder has %q too, %v", other, err)
	}
}
