package e2e

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain runs other programs if the test binary has their name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){netstackProgram: netstackEnd, nonftProgram: withoutNftables})
}

// scenarios lists the subtests of TestNetns. They run in this order, in parallel.
var scenarios = []struct {
	name string
	run  func(*lab)
}{
	{"DiscoveryOutage", scenarioDiscoveryOutage},
	{"EndpointCycling", scenarioEndpointCycling},
	{"Mesh", scenarioMesh},
	{"Join", scenarioJoin},
	{"Clone", scenarioClone},
	{"Reinstall", scenarioReinstall},
	{"GatewayLeaves", scenarioGatewayLeaves},
	{"StandaloneDiscovery", scenarioStandaloneDiscovery},
	{"MixedBackends", scenarioMixedBackends},
	{"Kill", scenarioKill},
	{"DiscoverySnapshot", scenarioDiscoverySnapshot},
	{"Harvest", scenarioHarvest},
	{"NATTable", scenarioNATTable},
	{"STUNInterop", scenarioSTUNInterop},
	{"Relay", scenarioRelay},
	{"RelayLeft", scenarioRelayLeft},
	{"RelayUpstream", scenarioRelayUpstream},
	{"RelayForeign", scenarioRelayForeign},
	{"RelayIPv6", scenarioRelayIPv6},
	{"RelayIPv6Only", scenarioRelayIPv6Only},
	{"RelayAbuse", scenarioRelayAbuse},
	{"RelayEditions", scenarioRelayEditions},
	{"PortMapping", scenarioPortMapping},
	{"Paths", scenarioPaths},
	{"PathsUpstream", scenarioPathsUpstream},
	{"UDPBlocked", scenarioUDPBlocked},
	{"SendRefused", scenarioSendRefused},
	{"NoAnswer", scenarioNoAnswer},
	{"NoJoinToken", scenarioNoJoinToken},
	{"Conflicts", scenarioConflicts},
	{"WrongSecret", scenarioWrongSecret},
	{"Garbage", scenarioGarbage},
	{"Leave", scenarioLeave},
	{"Expel", scenarioExpel},
	{"ExpelKilled", scenarioExpelKilled},
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
	{"PathMTU4", scenarioPathMTU4},
	{"PathMTU6", scenarioPathMTU6},
	{"PathMTUNetstack4", scenarioPathMTUNetstack4},
	{"PathMTUNetstack6", scenarioPathMTUNetstack6},
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
	{"MarksRewritten", scenarioMarksRewritten},
	{"RoutedBack", scenarioRoutedBack},
	{"ReversePathChecks", scenarioReversePathChecks},
	{"ForwardDropped", scenarioForwardDropped},
	{"UnderlayIPv6", scenarioUnderlayIPv6},
	{"UnderlayIPv4", scenarioUnderlayIPv4},
	{"Overlap", scenarioOverlap},
	{"Bypass", scenarioBypass},
	{"Neighbour", scenarioNeighbour},
	{"Killed", scenarioKilled},
	{"Boot", scenarioBoot},
	{"BootDamaged", scenarioBootDamaged},
	{"Down", scenarioDown},
	{"Flash", scenarioFlash},
	{"Moved", scenarioMoved},
	{"Refused", scenarioRefused},
	{"BadInput", scenarioBadInput},
	{"Pins", scenarioPins},
	{"KeyRotation", scenarioKeyRotation},
	{"Programs", scenarioPrograms},
	{"ControlGarbage", scenarioControlGarbage},
	{"Editions", scenarioEditions},
	{"Quick", scenarioQuick},
	{"Static", scenarioStatic},
	{"Cache", scenarioCache},
}

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
	for _, scenario := range scenarios {
		t.Run(scenario.name, func(t *testing.T) {
			t.Parallel()
			scenario.run(newLab(t, binary))
		})
	}
}
