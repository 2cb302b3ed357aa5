package agent

import (
	"net/netip"
	"slices"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// ingress replaces the peers in rules by the networks that they may send from. A
// name that no peer has admits no network.
func ingress(c config.Ingress, specs []mesh.PeerSpec) firewall.Ingress {
	out := firewall.Ingress{Default: c.Default}
	for _, r := range c.Rules {
		rule := firewall.IngressRule{Name: r.Name, Protocol: r.Protocol, Ports: r.Ports}
		var peers []netip.Prefix
		for i := range specs {
			if specs[i].Name != "" && slices.Contains(r.Peers, specs[i].Name) {
				peers = append(peers, specs[i].AllowedIPs...)
			}
		}
		rule.Sources = firewall.Sources(r.Subnets, peers)
		out.Rules = append(out.Rules, rule)
	}
	return out
}
