package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/wirespan/wirespan/device"
)

// requireTools fails the test if a tool is missing, and names its Debian package.
func requireTools(t *testing.T) {
	t.Helper()
	for _, tool := range [][2]string{
		{"ip", "iproute2"},
		{"nft", "nftables"},
		{"ping", "iputils-ping"},
		{"wg", "wireguard-tools"},
		{"wg-quick", "wireguard-tools"},
		{"curl", "curl"},
		{"setpriv", "util-linux"},
		{"ethtool", "ethtool"},
	} {
		if _, err := exec.LookPath(tool[0]); err != nil {
			t.Fatalf("%s is missing: apt-get install %s", tool[0], tool[1])
		}
	}
}

// ownName matches the names of namespaces, directories and wg(8) sockets of this suite.
// The number is the process that made them.
var ownName = regexp.MustCompile(`^ws?(\d+)-`)

// abandoned reports whether a name belongs to a run that ended without cleaning up.
func abandoned(name string) bool {
	m := ownName.FindStringSubmatch(name)
	if m == nil {
		return false
	}
	_, err := os.Readlink("/proc/" + m[1] + "/exe") // a zombie has none
	return err != nil
}

// sweep removes what killed runs left.
func sweep(t *testing.T) {
	t.Helper()
	list, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		t.Fatalf("listing namespaces: %v", err)
	}
	for line := range strings.Lines(string(list)) {
		if name := strings.Fields(line)[0]; abandoned(name) {
			removeNamespace(name)
		}
	}
	for _, pattern := range []string{filepath.Join(os.TempDir(), "ws*-*"), filepath.Join(device.UAPIDirectory, "w*-*.sock")} {
		paths, _ := filepath.Glob(pattern) // the pattern is valid
		for _, path := range paths {
			if abandoned(filepath.Base(path)) {
				_ = os.RemoveAll(path)
			}
		}
	}
}

// removeNamespace kills all processes in a namespace and removes it.
func removeNamespace(name string) {
	pids, _ := exec.Command("ip", "netns", "pids", name).Output()
	for field := range strings.FieldsSeq(string(pids)) {
		if pid, err := strconv.Atoi(field); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	_ = exec.Command("ip", "netns", "del", name).Run()
}

// buildBinary builds wirespan with the flags of a release and returns its path.
func buildBinary(t *testing.T) string { return buildWith(t, "grpcnotrace") }

// buildWith builds wirespan with build tags.
func buildWith(t *testing.T, tags string) string {
	t.Helper()
	dir := publicDir(t)
	path := filepath.Join(dir, "wirespan")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", tags, "-ldflags", "-s -w", "-o", path, "github.com/wirespan/wirespan/cmd/wirespan")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building wirespan: %v\n%s", err, out)
	}
	return path
}

// publicDir makes a temporary directory that other users may enter, for agents without
// privileges. Its name is short, since paths of unix sockets are limited.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", fmt.Sprintf("ws%d-", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tail returns the last lines of a file.
func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	cut := max(0, len(all)-lines)
	return fmt.Sprintf("(%d lines before)\n%s", cut, strings.Join(all[cut:], "\n"))
}
