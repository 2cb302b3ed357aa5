// Package interop checks wirespan's discovery client, codec and server against
// Sidero's own client. It is a module of its own, so that the product depends
// on none of that.
package interop

import (
	"context"
	"crypto/aes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	clientpb "github.com/siderolabs/discovery-api/api/v1alpha1/client/pb"
	sidero "github.com/siderolabs/discovery-client/pkg/client"
	"go.uber.org/zap"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/server"
	"github.com/wirespan/wirespan/discovery/service"
	"github.com/wirespan/wirespan/mesh"
)

const (
	clusterID = "interop-cluster"
	oursID    = "ours"
	theirsID  = "theirs"
	patience  = 20 * time.Second
)

var secret = mesh.NewSecret([32]byte{1, 2, 3, 31: 4})

// background runs until the test ends and reports what it returns.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func serve(t *testing.T, addr string) (endpoint string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), background(t, func(ctx context.Context) error { return s.Serve(ctx, l) })
}

// startOurs starts our client; a zero key signs nothing.
func startOurs(t *testing.T, endpoint, id string, key mesh.NodeKey) (c *service.Client, stop func()) {
	t.Helper()
	c, err := service.New(service.Config{Endpoints: []string{endpoint}, Insecure: true, ClusterID: clusterID, AffiliateID: id, Secret: secret, NodeKey: key, ClientVersion: "v0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	return c, background(t, c.Run)
}

// theirs is Sidero's client with its wake-ups.
type theirs struct {
	*sidero.Client
	changed chan struct{}
}

func startTheirs(t *testing.T, endpoint, id string) theirs {
	t.Helper()
	key := secret.Reveal()
	block, err := aes.NewCipher(key[:])
	if err != nil {
		t.Fatal(err)
	}
	c, err := sidero.NewClient(sidero.Options{Cipher: block, Endpoint: endpoint, ClusterID: clusterID, AffiliateID: id, ClientVersion: "v1.14.0", TTL: time.Minute, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan struct{}, 1)
	background(t, func(ctx context.Context) error { return c.Run(ctx, zap.NewNop(), changed) })
	return theirs{c, changed}
}

// eventually waits on a client's wake-ups until check finds nothing to object.
func eventually(t *testing.T, changed <-chan struct{}, check func() string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		objection := check()
		if objection == "" {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("after %v: %s", patience, objection)
		}
	}
}

func (th theirs) eventually(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, th.changed, func() string {
		var got []string
		for _, a := range th.GetAffiliates() {
			got = append(got, showTheirs(a.Affiliate, a.Endpoints))
		}
		slices.Sort(got)
		if slices.Equal(got, want) {
			return ""
		}
		return fmt.Sprintf("Sidero's client sees\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	})
}

func oursEventually(t *testing.T, c *service.Client, want ...string) {
	t.Helper()
	eventually(t, c.Changed(), func() string {
		var got []string
		for _, a := range c.Snapshot().Affiliates {
			got = append(got, showOurs(a))
		}
		if slices.Equal(got, want) {
			return ""
		}
		return fmt.Sprintf("our client sees\n%s\nwant\n%s\n%+v", strings.Join(got, "\n"), strings.Join(want, "\n"), c.Snapshot())
	})
}

// showOurs and showTheirs render the two forms alike; endpoints are sorted.
func showOurs(a mesh.Affiliate) string {
	eps := slices.SortedFunc(slices.Values(a.Endpoints), netip.AddrPort.Compare)
	return fmt.Sprintln(a.NodeID, a.Hostname, a.Nodename, a.OperatingSystem, a.MachineType, a.ControlPlanePort, a.Addresses,
		a.PublicKey, a.Address, a.AdditionalAddresses, a.ExcludeAdvertisedNetworks, eps)
}

func showTheirs(a *clientpb.Affiliate, endpoints []*clientpb.Endpoint) string {
	var addrs []netip.Addr
	for _, b := range a.GetAddresses() {
		addrs = append(addrs, addr(b))
	}
	prefixes := func(in []*clientpb.IPPrefix) (out []netip.Prefix) {
		for _, p := range in {
			out = append(out, netip.PrefixFrom(addr(p.GetIp()), int(p.GetBits())))
		}
		return out
	}
	var eps []netip.AddrPort
	for _, e := range endpoints {
		eps = append(eps, netip.AddrPortFrom(addr(e.GetIp()), uint16(e.GetPort())))
	}
	slices.SortFunc(eps, netip.AddrPort.Compare)
	ks := a.GetKubespan()
	return fmt.Sprintln(a.GetNodeId(), a.GetHostname(), a.GetNodename(), a.GetOperatingSystem(), a.GetMachineType(), a.GetControlPlane().GetApiServerPort(), addrs,
		ks.GetPublicKey(), addr(ks.GetAddress()), prefixes(ks.GetAdditionalAddresses()), prefixes(ks.GetExcludeAdvertisedAddresses()), eps)
}

func addr(b []byte) netip.Addr {
	ip, _ := netip.AddrFromSlice(b)
	return ip
}

func binary(ss ...string) (out [][]byte) {
	for _, s := range ss {
		out = append(out, netip.MustParseAddr(s).AsSlice())
	}
	return out
}

func theirEndpoint(s string) *clientpb.Endpoint {
	ap := netip.MustParseAddrPort(s)
	return &clientpb.Endpoint{Ip: ap.Addr().AsSlice(), Port: uint32(ap.Port())}
}

// ourData and theirData use every field there is.
func ourData() mesh.Affiliate {
	return mesh.Affiliate{
		NodeID: oursID, Hostname: "ours.example.org", Nodename: "ours", OperatingSystem: "Debian GNU/Linux (13)", MachineType: mesh.MachineWorker,
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		PublicKey: mesh.Key{1}, Address: netip.MustParseAddr("fd00::1"),
		AdditionalAddresses:       []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8:1::/64")},
		ExcludeAdvertisedNetworks: []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24")},
		Endpoints:                 []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("[2001:db8::1]:51820")},
	}
}

func theirData() *sidero.Affiliate {
	return &sidero.Affiliate{
		Affiliate: &clientpb.Affiliate{
			NodeId: theirsID, Hostname: "theirs.example.org", Nodename: "theirs", OperatingSystem: "Talos (v1.14.0)", MachineType: "controlplane",
			Addresses:    binary("192.0.2.2", "2001:db8::2"),
			ControlPlane: &clientpb.ControlPlane{ApiServerPort: 6443},
			Kubespan: &clientpb.KubeSpan{
				PublicKey: mesh.Key{2}.String(), Address: binary("fd00::2")[0],
				AdditionalAddresses:        []*clientpb.IPPrefix{{Ip: binary("10.2.0.0")[0], Bits: 16}, {Ip: binary("2001:db8:2::")[0], Bits: 64}},
				ExcludeAdvertisedAddresses: []*clientpb.IPPrefix{{Ip: binary("10.2.3.0")[0], Bits: 24}},
			},
		},
		Endpoints: []*clientpb.Endpoint{theirEndpoint("192.0.2.2:51820"), theirEndpoint("[2001:db8::2]:51820")},
	}
}

// TestSideBySide lets both clients live through the same events on one server
// of ours: data, endpoints seen by the other, public address, restart of the
// server with all state lost, deletion.
func TestSideBySide(t *testing.T) {
	endpoint, stop := serve(t, "127.0.0.1:0")
	ours, _ := startOurs(t, endpoint, oursID, mesh.NodeKey{})
	theirs := startTheirs(t, endpoint, theirsID)
	local, remote := ourData(), theirData()

	ours.Publish(discovery.Local{Affiliate: local})
	if err := theirs.SetLocalData(remote, nil); err != nil {
		t.Fatal(err)
	}
	oursEventually(t, ours, showTheirs(remote.Affiliate, remote.Endpoints))
	theirs.eventually(t, showOurs(local))
	if got := ours.Snapshot(); got.PublicAddr.String() != "127.0.0.1" || got.Problems != nil {
		t.Errorf("our client: public address %v, problems %v", got.PublicAddr, got.Problems)
	}
	if got := addr(theirs.GetPublicIP()); got.String() != "127.0.0.1" {
		t.Errorf("Sidero's client: public address %v", got)
	}

	// Each tells of the other's endpoints; one of them is known already.
	seenLocal, seenRemote := "198.51.100.1:40001", "198.51.100.2:40002"
	ours.Publish(discovery.Local{Affiliate: local, Others: []mesh.Endpoint{
		{AffiliateID: theirsID, Endpoint: netip.MustParseAddrPort(seenRemote)}, {AffiliateID: theirsID, Endpoint: netip.MustParseAddrPort("192.0.2.2:51820")},
	}})
	if err := theirs.SetLocalData(remote, []sidero.Endpoint{
		{AffiliateID: oursID, Endpoints: []*clientpb.Endpoint{theirEndpoint(seenLocal), theirEndpoint("[2001:db8::1]:51820")}},
	}); err != nil {
		t.Fatal(err)
	}
	fullLocal := local
	fullLocal.Endpoints = append(slices.Clone(local.Endpoints), netip.MustParseAddrPort(seenLocal))
	fullRemote := append(slices.Clone(remote.Endpoints), theirEndpoint(seenRemote))
	oursEventually(t, ours, showTheirs(remote.Affiliate, fullRemote))
	theirs.eventually(t, showOurs(fullLocal))

	// The server restarts and has forgotten everything.
	stop()
	eventually(t, ours.Changed(), func() string {
		if ours.Snapshot().Connected {
			return "our client doesn't notice that the server is gone"
		}
		return ""
	})
	oursEventually(t, ours, showTheirs(remote.Affiliate, fullRemote))
	serve(t, endpoint)
	local.Hostname, fullLocal.Hostname = "renamed", "renamed"
	ours.Publish(discovery.Local{Affiliate: local, Others: []mesh.Endpoint{{AffiliateID: theirsID, Endpoint: netip.MustParseAddrPort(seenRemote)}}})
	theirs.eventually(t, showOurs(fullLocal))
	oursEventually(t, ours, showTheirs(remote.Affiliate, fullRemote))

	// Each leaves, in turn, under the other's eyes.
	theirs.DeleteLocalAffiliate()
	oursEventually(t, ours)
	if err := ours.Delete(t.Context(), mesh.Affiliate{}); err != nil {
		t.Fatal(err)
	}
	theirs.eventually(t)
}
