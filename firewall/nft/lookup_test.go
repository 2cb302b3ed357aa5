package nft

import (
	"context"
	"net/netip"
	"os"
	"testing"

	"github.com/wirespan/wirespan/firewall"
)

func TestLookup(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	tunnel(t, "wan0")
	run(t, "ip", "addr", "add", "192.0.2.1/24", "dev", "wan0")
	run(t, "ip", "addr", "add", "2001:db8::1/64", "dev", "wan0", "nodad")
	run(t, "ip", "route", "add", "default", "via", "192.0.2.2")
	rs := firewall.Compile(policy("10.1.0.0/24", "10.1.1.0/24", "255.255.255.0/24", "fd01::/48"))
	f := open(t)
	ask := func(address, from string) KernelView {
		t.Helper()
		v, err := f.Lookup(context.Background(), Query{Numbers: numbers, Destination: netip.MustParseAddr(address), From: from})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := ask("10.1.0.1", ""); v.Table || v.Rule || v.Routed || v.Marked.Interface != "wan0" || v.Marked.Gateway.String() != "192.0.2.2" {
		t.Errorf("before Apply: %+v", v)
	}
	apply(t, f, rs)
	wan := RouteView{Type: "unicast", Table: firewall.RouteMain, Interface: "wan0", Gateway: netip.MustParseAddr("192.0.2.2"), Source: netip.MustParseAddr("192.0.2.1")}
	viaTunnel := RouteView{Type: "unicast", Table: 180, Interface: iface, Source: netip.MustParseAddr("192.0.2.1")}
	if v := ask("10.1.1.1", ""); !v.Table || !v.Rule || v.Network != "10.1.1.0/24" || v.Mark != 0x40 || v.Unmarked != wan || v.Marked != viaTunnel {
		t.Errorf("%+v", v)
	}
	for address, network := range map[string]string{
		"10.1.0.0": "10.1.0.0/24", "10.1.0.255": "10.1.0.0/24", "10.1.1.0": "10.1.1.0/24", "10.1.2.0": "", "10.0.255.255": "", "9.9.9.9": "",
		"255.255.255.255": "255.255.255.0/24", "255.255.254.255": "", "fd01::1": "fd01::/48", "fd02::": "", "::": "",
	} {
		if v := ask(address, ""); v.Network != network || v.Routed != (network != "") {
			t.Errorf("%s is in %q, want %q", address, v.Network, network)
		}
	}
	if v := ask("2001:4860::1", ""); v.Unmarked.Type != "none" || v.Marked.Interface != iface {
		t.Errorf("%+v", v)
	}
	run(t, "ip", "link", "del", iface)
	for _, a := range []string{"10.1.0.1", "fd01::1"} {
		if v := ask(a, ""); v.Marked.Type != "unreachable" {
			t.Errorf("without the tunnel: %+v", v)
		}
	}
	if v := ask("192.0.2.1", ""); v.Unmarked.Type != "local" {
		t.Errorf("%+v", v)
	}
}

// Lookup names the setting that keeps the kernel from forwarding.
func TestLookupForwarding(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	f := open(t)
	ask := func(address, source string) string {
		t.Helper()
		q := Query{Numbers: numbers, Destination: netip.MustParseAddr(address), From: iface}
		if source != "" {
			q.Source = netip.MustParseAddr(source)
		}
		v, err := f.Lookup(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		return v.NotForwarded
	}
	set := func(name, value string) {
		t.Helper()
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	set("ipv4/conf/all/forwarding", "0")
	set("ipv6/conf/all/forwarding", "0")
	if got, want := ask("10.9.0.1", ""), "net.ipv4.conf."+iface+".forwarding"; got != want {
		t.Errorf("IPv4: %q, want %q", got, want)
	}
	if got, want := ask("fd99::1", ""), "net.ipv6.conf.all.forwarding"; got != want {
		t.Errorf("IPv6: %q, want %q", got, want)
	}
	set("ipv4/conf/"+iface+"/forwarding", "1")
	set("ipv6/conf/all/forwarding", "1")
	if got := ask("10.9.0.1", "") + ask("fd99::1", ""); got != "" {
		t.Errorf("with forwarding: %q", got)
	}
}
