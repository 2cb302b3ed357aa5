package e2e

import (
	"debug/buildinfo"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// edgeGuests are all machines.
var edgeGuests = []string{"armv7", "mipsle", "amd64"}

// edgeScenarios lists the subtests of TestEdge: each runs on the machines that it names.
var edgeScenarios = []struct {
	name     string
	machines []string
	run      func(*edgeLab, edgeMachine)
}{
	{"Join", edgeGuests, edgeJoin},
	{"JoinNetstack", edgeGuests, edgeJoinNetstack},
	{"MTU1280", []string{"armv7"}, edgeNarrow},
	{"LateNIC", []string{"armv7"}, edgeLateNIC},
	{"AddressChange", []string{"amd64"}, edgeAddressChange},
	{"DHCP", []string{"amd64"}, edgeDHCP},
	{"NoName", []string{"amd64"}, edgeNoName},
	{"NoNftables", []string{"amd64", "mipsle"}, edgeNoNftables},
	{"NoCounter", []string{"amd64"}, edgeWithout("nft_counter", true)}, // part of nf_tables since Linux 5.18
	{"NoConntrack", []string{"amd64"}, edgeWithout("nft_ct", false)},
	{"NoIPv6", []string{"amd64"}, edgeNoIPv6},
	{"NoTUN", []string{"amd64"}, edgeNoTUN},
	{"PowerCut", []string{"amd64"}, edgePowerCut},
	{"FlashFull", []string{"amd64"}, edgeFlashFull},
	{"FlashReadOnly", []string{"amd64"}, edgeFlashReadOnly},
	{"RunReadOnly", []string{"amd64"}, edgeRunReadOnly},
	{"StateInMemory", []string{"amd64"}, edgeStateInMemory},
	{"LowMemory", []string{"mipsle"}, edgeLowMemory},
	{"OpenWrt", []string{"mipsle"}, edgeOpenWrt},
	{"Runit", []string{"amd64"}, edgeRunit},
	{"Clock1970", []string{"amd64", "armv7"}, edgeClock(epoch)},
	{"ClockAhead", []string{"amd64"}, edgeClock(tenYearsAhead)},
}

// TestEdge runs the shipped binary in emulated boxes, which join a founder on this machine.
// It takes what `make test-edge` makes: images of WIRESPAN_EDGE_GUESTS in the folder
// WIRESPAN_EDGE, and the founder's binary in WIRESPAN_EDGE_FOUNDER. Run one scenario on one
// machine with make test-edge EDGE_RUN=TestEdge/Join/mipsle.
func TestEdge(t *testing.T) {
	folder, binary := os.Getenv("WIRESPAN_EDGE"), os.Getenv("WIRESPAN_EDGE_FOUNDER")
	guests := strings.Fields(os.Getenv("WIRESPAN_EDGE_GUESTS"))
	if folder == "" {
		t.Skip("takes images of boxes: run make test-edge")
	}
	sweep(t)
	for _, scenario := range edgeScenarios {
		for _, machine := range edgeMachines {
			if slices.Contains(scenario.machines, machine.name) && slices.Contains(guests, machine.name) {
				t.Run(scenario.name+"/"+machine.name, func(t *testing.T) {
					t.Parallel()
					scenario.run(newEdgeLab(t, binary, folder), machine)
				})
			}
		}
	}
}

// newEdgeLab makes a lab whose founder runs, and repeats what it is sent.
func newEdgeLab(t *testing.T, binary, folder string) *edgeLab {
	t.Helper()
	l := &edgeLab{lab: newLab(t, binary), folder: folder}
	l.founder = l.host("founder").node("")
	l.founder.found()
	l.founder.repeats()
	l.token = l.founder.mustCLI("token", "--uses", "10")
	return l
}

// isFull reports whether the binary in the flash of a machine is the full build. The edge
// build has no netstack.
func (l *edgeLab) isFull(m edgeMachine) bool {
	l.Helper()
	info, err := buildinfo.ReadFile(filepath.Join(l.folder, m.name, "files", "wirespan"))
	if err != nil {
		l.Fatal(err)
	}
	return slices.ContainsFunc(info.Deps, func(d *debug.Module) bool { return d.Path == "gvisor.dev/gvisor" })
}
