package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh"
)

// TestHostInNamespace observes links that it adds in a network namespace of its own. The
// namespace belongs to a thread that ends with its goroutine.
func TestHostInNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a network namespace takes root")
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock
		result <- lookInside()
	}()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func lookInside() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("new network namespace: %w", err)
	}
	uplink := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0", MTU: 1400}, PeerName: "up1", PeerMTU: 1400}
	if err := netlink.LinkAdd(uplink); err != nil {
		return fmt.Errorf("adding a link: %w", err)
	}
	far := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up1"}}
	if err := errors.Join(netlink.LinkSetUp(uplink), netlink.LinkSetUp(far)); err != nil {
		return fmt.Errorf("setting a link up: %w", err)
	}
	for _, text := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(uplink, addr); err != nil {
			return fmt.Errorf("adding %s: %w", text, err)
		}
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: uplink.Index, Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}}); err != nil {
		return fmt.Errorf("adding a default route: %w", err)
	}
	h := New(Config{})
	want := []mesh.Link{
		{Name: "lo", Loopback: true, MTU: 65536},
		{Name: "up0", Kind: "veth", Up: true, DefaultRoute: true, MTU: 1400, Addresses: []netip.Prefix{
			netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64"),
		}},
		{Name: "up1", Kind: "veth", Up: true, MTU: 1400},
	}
	for end := time.Now().Add(10 * time.Second); ; { // links come up asynchronously
		links, err := h.Links()
		if err != nil {
			return err
		}
		if reflect.DeepEqual(links, want) {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("links = %+v\nwant %+v", links, want)
		}
		runtime.Gosched()
	}
	if err := seesGateways(h, uplink); err != nil {
		return err
	}
	return signalsChange(h, uplink)
}

// seesGateways compares the gateways of default routes with those that it adds.
func seesGateways(h *Host, link netlink.Link) error {
	u, err := h.Underlay()
	if err != nil {
		return err
	}
	if !u.Default4 || u.Default6 || len(u.Gateways) != 0 {
		return fmt.Errorf("with a default route without a gateway: %+v", u)
	}
	for _, gateway := range []string{"192.0.2.254", "2001:db8::fe"} {
		r := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gateway), Priority: 10}
		if err := netlink.RouteAdd(r); err != nil {
			return fmt.Errorf("adding a default route by %s: %w", gateway, err)
		}
	}
	if u, err = h.Underlay(); err != nil {
		return err
	}
	slices.SortFunc(u.Gateways, netip.Addr.Compare)
	want := []netip.Addr{netip.MustParseAddr("192.0.2.254"), netip.MustParseAddr("2001:db8::fe")}
	if !u.Default4 || !u.Default6 || !slices.Equal(u.Gateways, want) {
		return fmt.Errorf("underlay %+v, want gateways %v", u, want)
	}
	return nil
}

// signalsChange runs h in this thread's namespace until it signals a change.
func signalsChange(h *Host, link netlink.Link) error {
	here, err := netns.Get()
	if err != nil {
		return err
	}
	defer here.Close()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(here); err != nil {
			ended <- err
			return
		}
		ended <- h.Run(ctx)
	}()
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for mtu := 1300; ; mtu++ { // until the subscription exists
		if err := netlink.LinkSetMTU(link, mtu%100+1300); err != nil {
			return err
		}
		select {
		case <-h.Changed():
			cancel()
			return <-ended
		case err := <-ended:
			return fmt.Errorf("Run ended: %w", err)
		case <-again.C:
		}
	}
}
