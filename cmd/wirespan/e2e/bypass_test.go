package e2e

import (
	"net/netip"
	"strings"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// way is how pings pass a link.
type way string

const (
	encrypted way = "encrypted"
	plaintext way = "plaintext"
)

// takes checks how echo requests to an address, and the replies, pass the host's link.
func (h *labHost) takes(to netip.Addr, requests, replies way) {
	h.Helper()
	h.reaches(to)
	s := h.sniff("eth0", func(p *sniffed) bool { return p.isPing() && (p.to.Addr() == to || p.from.Addr() == to) })
	err := h.ping(to)
	got := map[bool]way{true: encrypted, false: encrypted}
	for _, p := range s.stop() {
		got[p.out] = plaintext
	}
	if err != nil || got[true] != requests || got[false] != replies {
		h.Errorf("%s to %s: requests %s, replies %s; want %s, %s: %v", h.name, to, got[true], got[false], requests, replies, err)
	}
}

// kubespan returns a KubeSpanConfig document with the given lines.
func kubespan(keys ...string) string {
	return "---\napiVersion: v1alpha1\nkind: KubeSpanConfig\nenabled: true\n" + strings.Join(keys, "\n") + "\n"
}

// bypassLab has three nodes on the same LAN, the switch, and a site behind b.
type bypassLab struct {
	*lab
	a, b, c    *labNode
	a4, b4, b6 netip.Addr
	site       *site
	announced  string
}

// scenarioBypass checks that traffic bypasses the tunnel only where that is configured.
func scenarioBypass(l *lab) {
	ha, hb, hc := l.host("a"), l.host("b"), l.host("c")
	w := &bypassLab{lab: l, site: hb.site(2)}
	w.a4, w.b4, w.b6 = netip.MustParseAddr(ha.address), netip.MustParseAddr(hb.address), netip.MustParseAddr("fd90::2")
	w.announced = settings("advertisedNetworks: " + w.site.networks())
	w.a, w.b, w.c = ha.node(""), hb.node(""), hc.node("")
	w.set(kubespan("allowDownPeerBypass: true"), kubespan("allowDownPeerBypass: true"))
	w.blockUDP()
	token := w.a.found()
	w.b.join(token)
	w.c.join(token)
	l.allUp(w.a, w.c)
	w.downPeers()
	w.excluded()
	w.siteNetworks()
	w.onLink()

	w.set("", "")
	w.reload()
	w.a.leads("10.90.0.2/32", "b", mesh.PathTunnel)
	w.b.leads("10.90.0.1/32", "a", mesh.PathTunnel)
	w.a.takes(w.b4, encrypted, encrypted)
	w.b.takes(w.a4, encrypted, encrypted)
	w.a.calm()
}

// set configures a and b.
func (w *bypassLab) set(a, b string) {
	w.Helper()
	w.a.configure(a)
	w.b.configure(w.announced + b)
}

func (w *bypassLab) reload() {
	w.Helper()
	w.a.mustCLI("reload")
	w.b.mustCLI("reload")
}

// blockUDP prevents a tunnel between a and b.
func (w *bypassLab) blockUDP() {
	w.Helper()
	w.b.nft(`table inet block {
	chain in { type filter hook input priority filter; ip saddr 10.90.0.1 udp dport 51820 drop; ip6 saddr fd90::1 udp dport 51820 drop; }
	chain out { type filter hook output priority filter; ip daddr 10.90.0.1 udp sport 51820 drop; ip6 daddr fd90::1 udp sport 51820 drop; }
}
`)
}

// downPeers checks that with allowDownPeerBypass traffic does not wait for a peer that
// is not up.
func (w *bypassLab) downPeers() {
	w.Helper()
	check := func(path mesh.Path, is way, explained firewall.Path) {
		w.Helper()
		w.a.leads("10.90.0.2/32", "b", path)
		w.b.leads("10.90.0.1/32", "a", path)
		w.a.takes(w.b4, is, is)
		w.b.takes(w.a4, is, is)
		w.a.explains(w.b4.String(), explained, "b")
	}
	check(mesh.PathDown, plaintext, firewall.PathBypass)
	w.b.mustExec("nft", "delete", "table", "inet", "block")
	w.allUp(w.a, w.b, w.c)
	check(mesh.PathTunnel, encrypted, firewall.PathTunnel)
	w.blockUDP()
	w.a.restart()
	w.b.restart()
	check(mesh.PathDown, plaintext, firewall.PathBypass)
	w.b.mustExec("nft", "delete", "table", "inet", "block")
	w.allUp(w.a, w.b, w.c)
	check(mesh.PathTunnel, encrypted, firewall.PathTunnel)
}

// excluded checks exclusions: a excludes an address of b from the tunnel, b excludes
// none of a. Replies to packets from the tunnel return through the tunnel.
func (w *bypassLab) excluded() {
	w.Helper()
	w.set(kubespan("filters: {excludeAdvertisedNetworks: [10.90.0.2/32]}"), "")
	w.reload()
	w.a.leads("10.90.0.2/32", "b", mesh.PathExcluded)
	w.b.takes(w.a4, encrypted, encrypted)
	w.a.takes(w.b4, plaintext, encrypted)
	w.a.takes(w.b6, encrypted, encrypted)
	w.a.condition(mesh.ConditionAsymmetricExclusion, "10.90.0.2/32", "b")
}

// siteNetworks checks a LAN that is the site network of a and b, but not of c.
func (w *bypassLab) siteNetworks() {
	w.Helper()
	w.set(settings("siteNetworks: [10.90.0.0/24]"), "siteNetworks: [10.90.0.0/24]\n")
	w.reload()
	w.a.leads("10.90.0.2/32", "b", mesh.PathSite)
	w.b.leads("10.90.0.1/32", "a", mesh.PathSite)
	w.a.takes(w.b4, plaintext, plaintext)
	w.b.takes(w.a4, plaintext, plaintext)
	w.c.takes(w.a4, encrypted, encrypted)
	w.a.explains("10.90.0.2:80", firewall.PathBypass, "b")
	w.others(w.b6)
}

// onLink checks that peers are reached directly at the address that the tunnel uses as
// endpoint.
func (w *bypassLab) onLink() {
	w.Helper()
	w.set(settings("siteOnLink: true"), "siteOnLink: true\n")
	w.reload()
	view, err := w.a.peer("b")
	if err != nil {
		w.Fatal(err)
	}
	direct, other, back := w.b4, w.b6, w.a4
	if view.Endpoint.Addr() == w.b6 {
		direct, other, back = w.b6, w.b4, netip.MustParseAddr("fd90::1")
	}
	w.a.leads(netip.PrefixFrom(direct, direct.BitLen()).String(), "b", mesh.PathSite)
	w.b.leads(netip.PrefixFrom(back, back.BitLen()).String(), "a", mesh.PathSite)
	w.a.takes(direct, plaintext, plaintext)
	w.b.takes(back, plaintext, plaintext)
	w.others(other)
}

// others checks that traffic with other addresses goes through the tunnel whatever the
// site networks are.
func (w *bypassLab) others(address netip.Addr) {
	w.Helper()
	for _, to := range []netip.Addr{address, w.b.mustStatus().Node.Address, w.site.v4, w.site.v6} {
		w.a.takes(to, encrypted, encrypted)
	}
}
