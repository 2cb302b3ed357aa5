package node

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

func TestCapabilities(t *testing.T) {
	n := &Node{config: &config.Config{}, state: must(state.Open(t.TempDir(), nil))}
	if got, want := n.capabilities(), []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE}; !slices.Equal(got, want) {
		t.Errorf("capabilities %v, want %v", got, want)
	}
}

// Files of another user, or below a directory of another user, need CAP_DAC_OVERRIDE.
func TestForeignFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to another user")
	}
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "own"), filepath.Join(other, "below")} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(other, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"/": false, filepath.Join(dir, "own"): false, filepath.Join(dir, "absent"): false,
		other: true, filepath.Join(other, "below"): true, filepath.Join(other, "absent"): true,
	} {
		if got := foreign(path); got != want {
			t.Errorf("foreign(%q) = %v, want %v", path, got, want)
		}
		n := &Node{cfg: Config{Files: []string{path}}, config: &config.Config{}, state: must(state.Open(config.StateMemory, nil))}
		if got := slices.Contains(n.capabilities(), unix.CAP_DAC_OVERRIDE); got != want {
			t.Errorf("%q: CAP_DAC_OVERRIDE is kept: %v, want %v", path, got, want)
		}
	}
}
