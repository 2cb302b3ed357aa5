package node

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/nft"
	"github.com/wirespan/wirespan/mesh"
)

// strictLinks returns a condition for each interface to a network behind this node from
// which the kernel's reverse path check takes no packets for the mesh. These have the mark
// of the tunnel, with which their source is found there.
func (k *kernel) strictLinks(p firewall.Policy) ([]mesh.Condition, error) {
	if !p.ByMark() {
		return strictByDestination(p), nil
	}
	var named []string
	var out []mesh.Condition
	for _, n := range p.Forwarded[:min(len(p.Forwarded), maxForwardChecks)] {
		if n.Addr().Is6() { // the check is for IPv4
			continue
		}
		links, err := k.LinksTo(n)
		if err != nil {
			return nil, err
		}
		for _, link := range links {
			if slices.Contains(named, link) || !nft.StrictWithMarks(link) {
				continue
			}
			named = append(named, link)
			out = append(out, mesh.Condition{
				Type: mesh.ConditionHostDrops, Subject: "rp_filter of " + link,
				Message: fmt.Sprintf("the kernel drops IPv4 packets for the mesh that %s brings: its reverse path check is strict (rp_filter is 1) and looks at marks (src_valid_mark, as wg-quick sets it); run: sysctl -w net.ipv4.conf.%[1]s.rp_filter=2 (and in /etc/sysctl.d, to make it last)", link),
			})
		}
	}
	return out, nil
}

// strictByDestination returns a condition for each interface that takes no packets from the
// IPv4 networks of peers. Without marks the route to these leads into the tunnel, also for
// the check of encrypted packets from a peer whose endpoint is in one of them.
func strictByDestination(p firewall.Policy) []mesh.Condition {
	if !slices.ContainsFunc(p.Routed, func(n netip.Prefix) bool { return n.Addr().Is4() }) {
		return nil
	}
	var out []mesh.Condition
	for _, link := range nft.StrictLinks(p.Interface) {
		out = append(out, mesh.Condition{
			Type: mesh.ConditionHostDrops, Subject: "rp_filter of " + link,
			Message: fmt.Sprintf("the kernel drops IPv4 packets that %s brings from addresses of peers, encrypted ones among them: its reverse path check is strict (rp_filter is 1), and without nftables the way back is in the tunnel; run: sysctl -w net.ipv4.conf.%[1]s.rp_filter=2 (and in /etc/sysctl.d, to make it last)", link),
		})
	}
	return out
}
