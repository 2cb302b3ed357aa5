package node

import (
	"fmt"
	"slices"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/nft"
	"github.com/wirespan/wirespan/mesh"
)

// strictLinks returns a condition for each interface to a network behind this node from
// which the kernel's reverse path check takes no packets for the mesh. These have the mark
// of the tunnel, with which their source is found there.
func (k *kernel) strictLinks(p firewall.Policy) ([]mesh.Condition, error) {
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
