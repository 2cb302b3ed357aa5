package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// impure are packages that do I/O or share state. That nothing reads the clock, the purity
// test of package mesh checks.
var impure = []string{`"context"`, `"crypto/rand"`, `"log"`, `"log/slog"`, `"net"`, `"os"`, `"sync"`, `"syscall"`}

func TestPackageIsPure(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		checked++
		for _, im := range file.Imports {
			if slices.Contains(impure, im.Path.Value) {
				t.Errorf("%s imports %s", name, im.Path.Value)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if _, isGo := n.(*ast.GoStmt); isGo {
				t.Errorf("%s starts a goroutine", name)
			}
			return true
		})
	}
	if checked == 0 {
		t.Error("no file checked")
	}
}

func TestNearMiss(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"KubeSpanConfig", ""},
		{"kubespanconfig", "KubeSpanConfig"},
		{"KubeSpanConf", "KubeSpanConfig"},
		{"KubeSpnCnfig", "KubeSpanConfig"},
		{"KubePrismConfig", ""},
		{"x", ""},
		{"ma", "mac"},
		{"mca", ""},
		{"tun", ""},
	} {
		if got := NearMiss(tt.in, "mac", "KubeSpanConfig", "WirespanConfig"); got != tt.want {
			t.Errorf("NearMiss(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

// Kinds of Talos documents must not be taken for misspellings of ours.
func TestTalosKindsAreForeign(t *testing.T) {
	for _, kind := range strings.Fields(`
		BGPConfig BlackholeRouteConfig BondConfig BridgeConfig CRIBaseRuntimeSpecConfig DHCPv4Config DHCPv6Config
		DummyLinkConfig EnvironmentConfig EthernetConfig EventSinkConfig ExistingVolumeConfig ExtensionServiceConfig
		ExternalVolumeConfig HCloudVIPConfig HostnameConfig HTTPProbeConfig KmsgLogConfig KubePrismConfig KubeletConfig
		Layer2VIPConfig LinkAliasConfig LinkConfig MacvlanConfig NATRuleConfig NetworkLinkIngressConfig
		NetworkWifiConfig OOMConfig PCIDriverRebindConfig RawVolumeConfig RegistryAuthConfig RegistryMirrorConfig
		RegistryTLSConfig ResolverConfig RoutingRuleConfig SideroLinkConfig StaticHostConfig SwapVolumeConfig
		TCPProbeConfig TimeSyncConfig TrustedRootsConfig UserVolumeConfig VethConfig VLANConfig VolumeConfig VRFConfig
		WatchdogTimerConfig WireguardConfig ZswapConfig`) {
		o := &loader{documents: documents{cfg: &Config{}}}
		o.foreign(&object{}, text{value: kind})
		if o.err() != nil || len(o.cfg.Ignored) != 1 {
			t.Errorf("%s: %v", kind, o.err())
		}
	}
}
