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
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wirespan/wirespan/device"
)

// TestMain lets the test binary be other programs, by their names.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){netstackProgram: netstackEnd, nonftProgram: withoutNftables})
}

// longWaits makes waits as long as in real life: a minute of outage, a minute
// of idleness before memory is measured. Set WIRESPAN_NETNS_LONG=1.
var longWaits = os.Getenv("WIRESPAN_NETNS_LONG") != ""

// TestNetns runs the real binary on real packets, in network namespaces of its
// own. Run one scenario with -run TestNetns/Harvest.
func TestNetns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if testing.Short() {
		t.Skip("takes minutes")
	}
	requireTools(t)
	sweep(t)
	binary := buildBinary(t)
	for _, scenario := range []struct {
		name string
		run  func(*lab)
	}{
		{"DiscoveryOutage", scenarioDiscoveryOutage},
		{"EndpointCycling", scenarioEndpointCycling},
		{"Mesh", scenarioMesh},
		{"StandaloneDiscovery", scenarioStandaloneDiscovery},
		{"MixedBackends", scenarioMixedBackends},
		{"Kill", scenarioKill},
		{"DiscoverySnapshot", scenarioDiscoverySnapshot},
		{"Harvest", scenarioHarvest},
		{"UDPBlocked", scenarioUDPBlocked},
		{"Conflicts", scenarioConflicts},
		{"WrongSecret", scenarioWrongSecret},
		{"Garbage", scenarioGarbage},
		{"Leave", scenarioLeave},
		{"Reload", scenarioReload},
		{"Idle", scenarioIdle},
		{"Device", scenarioDevice},
		{"DeviceReady", scenarioDeviceReady},
		{"DeviceDescriptors", scenarioDeviceDescriptors},
		{"DeviceQuick", scenarioDeviceQuick},
		{"Interop", scenarioInterop},
		{"InteropNetstack", scenarioInteropNetstack},
		{"UnderlayMTU", scenarioUnderlayMTU},
		{"NarrowPath", scenarioNarrowPath},
		{"Flood", scenarioFlood},
		{"Noise", scenarioNoise},
		{"Crowd", scenarioCrowd},
		{"Ingress", scenarioIngress},
		{"Leak", scenarioLeak},
		{"Sites", scenarioSites},
		{"SitesMasquerade", scenarioSitesMasquerade},
		{"TunnelInTunnel", scenarioTunnelInTunnel},
		{"Coexist", scenarioCoexist},
		{"CoexistHeal", scenarioCoexistHeal},
		{"CoexistConflicts", scenarioCoexistConflicts},
		{"UnderlayIPv6", scenarioUnderlayIPv6},
		{"UnderlayIPv4", scenarioUnderlayIPv4},
		{"Overlap", scenarioOverlap},
		{"Bypass", scenarioBypass},
		{"Neighbour", scenarioNeighbour},
		{"Killed", scenarioKilled},
		{"Boot", scenarioBoot},
		{"BootDamaged", scenarioBootDamaged},
		{"Down", scenarioDown},
		{"Refused", scenarioRefused},
		{"BadInput", scenarioBadInput},
		{"Pins", scenarioPins},
		{"ControlGarbage", scenarioControlGarbage},
	} {
		t.Run(scenario.name, func(t *testing.T) {
			t.Parallel()
			scenario.run(newLab(t, binary))
		})
	}
}

// requireTools fails on what is missing, with the Debian package that has it.
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

// ownName is how namespaces, directories and wg(8) sockets of this suite are
// called; the number is the process that made them.
var ownName = regexp.MustCompile(`^ws?(\d+)-`)

// abandoned reports whether a name is of a run that ended without cleaning up.
func abandoned(name string) bool {
	m := ownName.FindStringSubmatch(name)
	if m == nil {
		return false
	}
	_, err := os.Readlink("/proc/" + m[1] + "/exe") // a zombie has none
	return err != nil
}

// sweep removes what killed runs have left.
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
		paths, _ := filepath.Glob(pattern) // the pattern is good
		for _, path := range paths {
			if abandoned(filepath.Base(path)) {
				_ = os.RemoveAll(path)
			}
		}
	}
}

// removeNamespace ends all processes in a namespace, then removes it.
func removeNamespace(name string) {
	pids, _ := exec.Command("ip", "netns", "pids", name).Output()
	for field := range strings.FieldsSeq(string(pids)) {
		if pid, err := strconv.Atoi(field); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	_ = exec.Command("ip", "netns", "del", name).Run()
}

// buildBinary builds wirespan as it is shipped.
func buildBinary(t *testing.T) string {
	t.Helper()
	dir := publicDir(t)
	path := filepath.Join(dir, "wirespan")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "grpcnotrace,nethttpomithttp2", "-ldflags", "-s -w", "-o", path, "github.com/wirespan/wirespan/cmd/wirespan")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building wirespan: %v\n%s", err, out)
	}
	return path
}

// publicDir is a short-named temporary directory that other users may enter:
// agents without privileges run below it, and unix socket paths are limited.
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

// eventually polls until check returns nil, and returns how long that took.
func eventually(t *testing.T, within time.Duration, check func() error) time.Duration {
	t.Helper()
	started := time.Now()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		err := check()
		took := time.Since(started)
		if err == nil {
			return took
		}
		if took > within {
			t.Fatalf("not within %s: %v", within, err)
		}
		<-poll.C
	}
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
