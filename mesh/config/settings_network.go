package config

import (
	"net/netip"

	"github.com/wirespan/wirespan/mesh"
)

// networkSettings are those of networks behind nodes and of the LAN between them.
func networkSettings() []Setting {
	return []Setting{{
		Key: "advertisedNetworks", Kind: KindList, Example: "192.168.1.0/24,2001:db8:1::/64",
		Help: "Networks (CIDR) behind this node that the mesh reaches through it; 0.0.0.0/0 and ::/0 make it an exit node.",
		at: func(w *Wirespan) target {
			return checkedList[netip.Prefix]{list[netip.Prefix]{&w.AdvertisedNetworks, parseLocatedNetwork}, checkAdvertisedNetworks}
		},
	}, {
		Key: "masquerade", Kind: KindBool, Default: "false",
		Help: "Let advertised networks see this node's own address instead of the mesh's, for networks without a route back.",
		at:   func(w *Wirespan) target { return scalar[bool]{&w.Masquerade, parseBool} },
	}, {
		Key: "allowedNetworks", Kind: KindList, Example: "node-2=0.0.0.0/0",
		Help: "Networks (NODENAME=CIDR) that a peer may announce although they are refused otherwise: default routes, this node's gateway, DNS or discovery server.",
		at: func(w *Wirespan) target {
			return checkedList[mesh.Allowance]{list[mesh.Allowance]{&w.AllowedNetworks, parseAllowance}, checkAllowances}
		},
	}, {
		Key: "siteNetworks", Kind: KindList, Example: "192.168.0.0/16",
		Help: "Networks (CIDR) in which peers keep their LAN path, not encrypted by the mesh, if this node has an address there, too.",
		at: func(w *Wirespan) target {
			return checkedList[netip.Prefix]{list[netip.Prefix]{&w.SiteNetworks, parseSiteNetwork}, checkDisjoint}
		},
	}, {
		Key: "siteOnLink", Kind: KindBool, Default: "false",
		Help: "Peers whose tunnel runs over a subnet that is on-link here keep their LAN path, too, not encrypted by the mesh.",
		at:   func(w *Wirespan) target { return scalar[bool]{&w.SiteOnLink, parseBool} },
	}}
}

// firewallSettings are those of the kernel's rules and routes.
func firewallSettings() []Setting {
	return []Setting{{
		Key: "firewall.enabled", Kind: KindBool, Default: "true", Restart: true,
		Help: "Install nftables rules and policy routing (TUN backend).",
		at:   func(w *Wirespan) target { return scalar[bool]{&w.Firewall.Enabled, parseBool} },
	}, {
		Key: "firewall.table", Default: "wirespan", Restart: true,
		Help: "Name of the nftables table, of family inet.",
		at:   func(w *Wirespan) target { return scalar[string]{&w.Firewall.Table, parseTableName} },
	}, {
		Key: "firewall.routingTable", Kind: KindInt, Default: "180", Restart: true,
		Help: "Number of the routing table that leads into the tunnel.",
		at:   func(w *Wirespan) target { return scalar[int]{&w.Firewall.RoutingTable, parseNumber[int]} },
	}, {
		Key: "firewall.rulePriority", Kind: KindInt, Default: "32500", Restart: true,
		Help: "Priority of the routing rules.",
		at:   func(w *Wirespan) target { return scalar[int]{&w.Firewall.RulePriority, parseNumber[int]} },
	}, {
		Key: "firewall.encryptedMark", Kind: KindInt, Default: "0x20", Restart: true,
		Help: "Mark of encrypted packets, which never enter the tunnel.",
		at:   func(w *Wirespan) target { return scalar[uint32]{&w.Firewall.EncryptedMark, parseNumber[uint32]} },
	}, {
		Key: "firewall.tunnelMark", Kind: KindInt, Default: "0x40", Restart: true,
		Help: "Mark of packets that belong into the tunnel.",
		at:   func(w *Wirespan) target { return scalar[uint32]{&w.Firewall.TunnelMark, parseNumber[uint32]} },
	}, {
		Key: "firewall.mask", Kind: KindInt, Default: "0x60", Restart: true,
		Help: "Bits of a packet's mark that both marks use; other programs must not.",
		at:   func(w *Wirespan) target { return scalar[uint32]{&w.Firewall.Mask, parseNumber[uint32]} },
	}}
}
