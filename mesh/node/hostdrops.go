package node

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/nft"
	"github.com/wirespan/wirespan/mesh"
)

// maxForwardChecks bounds the networks behind this node whose packets are followed
// through the rules of other programs.
const maxForwardChecks = 16

// maxNamedDrops bounds what a condition names of it.
const maxNamedDrops = 4

// hostCheck is a packet, and what it stands for.
type hostCheck struct {
	packet nft.HostPacket
	what   string
}

// hostDrops returns a condition for each chain of another program that drops what the
// tunnel brings, or what this node forwards for the networks behind it.
func (k *kernel) hostDrops(p firewall.Policy) ([]mesh.Condition, error) {
	checks, err := k.hostChecks(p)
	if err != nil {
		return nil, err
	}
	packets := make([]nft.HostPacket, len(checks))
	for i := range checks {
		packets[i] = checks[i].packet
	}
	drops, err := k.HostDrops(p.Table, packets)
	if err != nil {
		return nil, err
	}
	var out []mesh.Condition
	for _, first := range drops {
		if first == nil || slices.ContainsFunc(out, func(c mesh.Condition) bool { return c.Subject == first.Chain }) {
			continue
		}
		var what, commands []string
		for j, d := range drops {
			if d == nil || d.Chain != first.Chain {
				continue
			}
			what = append(what, checks[j].what)
			if line := dropAdvice(d, &checks[j].packet, p.Interface); !slices.Contains(commands, line) {
				commands = append(commands, line)
			}
		}
		text := strings.Join(what[:min(len(what), maxNamedDrops)], ", ")
		if more := len(what) - maxNamedDrops; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		out = append(out, mesh.Condition{
			Type: mesh.ConditionHostDrops, Subject: first.Chain,
			Message: fmt.Sprintf("chain %s drops %s: %s; run: %s", first.Chain, text, dropReason(first), strings.Join(commands, " && ")) + lastingAdvice(first),
		})
	}
	legacy, err := k.legacyDrops(p)
	return append(out, legacy...), err
}

// legacyDrops returns a condition for each family whose legacy tables forward nothing by
// the tunnel, though there are networks behind this node.
func (k *kernel) legacyDrops(p firewall.Policy) ([]mesh.Condition, error) {
	if len(p.Forwarded) == 0 {
		return nil, nil
	}
	drops, err := k.LegacyDrops(p.Interface)
	var out []mesh.Condition
	for _, d := range drops {
		if !slices.ContainsFunc(p.Forwarded, func(n netip.Prefix) bool { return n.Addr().Is6() == d.IPv6 }) {
			continue
		}
		var commands []string
		if d.In {
			commands = append(commands, fmt.Sprintf("%s -I FORWARD -i %s -j ACCEPT", d.Command, p.Interface))
		}
		if d.Out {
			commands = append(commands, fmt.Sprintf("%s -I FORWARD -o %s -j ACCEPT", d.Command, p.Interface))
		}
		out = append(out, mesh.Condition{
			Type: mesh.ConditionHostDrops, Subject: d.Command + " FORWARD",
			Message: fmt.Sprintf("%s; run: %s (and in that program's configuration, to make it last)", legacyReason(d, p.Interface), strings.Join(commands, " && ")),
		})
	}
	return out, err
}

func legacyReason(d nft.Legacy, tunnel string) string {
	return fmt.Sprintf("chain FORWARD of %s has the policy drop and no rule for %s; what this node forwards passes only if another rule accepts it", d.Command, tunnel)
}

// hostChecks returns the packets to follow: one of each IP version that comes out of
// the tunnel, and connections from and to each network behind this node.
func (k *kernel) hostChecks(p firewall.Policy) ([]hostCheck, error) {
	peers := map[bool]netip.Addr{}
	if p.Subnet.IsValid() {
		peers[true] = p.Subnet.Addr().Next()
	}
	for _, n := range p.Routed { // a peer's address out of the /64, where there is one
		if v6 := n.Addr().Is6(); v6 || !peers[v6].IsValid() {
			peers[v6] = n.Addr()
		}
	}
	var out []hostCheck
	add := func(packet nft.HostPacket, what string) {
		packet.Protocol = firewall.ProtocolTCP
		out = append(out, hostCheck{packet, what})
	}
	for _, v6 := range []bool{false, true} {
		if peers[v6].IsValid() {
			add(nft.HostPacket{Hook: firewall.HookPrerouting, In: p.Interface, Source: peers[v6], Mark: p.TunnelMark},
				fmt.Sprintf("what comes from the mesh (as from %s)", peers[v6]))
		}
	}
	for _, n := range p.Forwarded[:min(len(p.Forwarded), maxForwardChecks)] {
		links, err := k.LinksTo(n)
		if err != nil {
			return nil, err
		}
		for _, link := range links {
			peer, inside := peers[n.Addr().Is6()], n.Addr()
			add(nft.HostPacket{Hook: firewall.HookForward, In: p.Interface, Out: link, Source: peer, Destination: inside},
				fmt.Sprintf("what the mesh sends to %s by %s", n, link))
			add(nft.HostPacket{Hook: firewall.HookForward, In: link, Out: p.Interface, Source: inside, Destination: peer},
				fmt.Sprintf("what %s sends into the mesh by %s", n, link))
		}
	}
	return out, nil
}

func dropReason(d *nft.HostDrop) string {
	switch {
	case d.ReversePath:
		return "its reverse path check finds no way back by the tunnel"
	case d.Policy:
		return "no rule accepts that, and its policy is drop"
	}
	return "a rule drops that"
}

// dropAdvice returns the commands that make a chain pass a packet: of the program that
// owns the chain, if it is known.
func dropAdvice(d *nft.HostDrop, p *nft.HostPacket, tunnel string) string {
	side, match, iptables := "in", fmt.Sprintf("iifname %q", tunnel), "-i "
	if p.In != tunnel {
		side, match, iptables = "out", fmt.Sprintf("oifname %q", tunnel), "-o "
	}
	switch {
	case d.Table == "firewalld" && d.ReversePath:
		return "sed -i s/^IPv6_rpfilter=.*/IPv6_rpfilter=no/ /etc/firewalld/firewalld.conf && firewall-cmd --reload"
	case d.Table == "firewalld" && side == "in":
		return "firewall-cmd --permanent --zone=trusted --add-interface=" + tunnel + " && firewall-cmd --reload"
	case d.Table == "firewalld":
		const policy = "firewall-cmd --permanent --policy=to-mesh --"
		return "firewall-cmd --permanent --new-policy=to-mesh && " + policy + "add-ingress-zone=ANY && " + policy + "add-egress-zone=trusted && " +
			policy + "set-target=ACCEPT && firewall-cmd --permanent --zone=trusted --add-interface=" + tunnel + " && firewall-cmd --reload"
	case d.UFW && p.Hook == firewall.HookForward:
		return "ufw route allow " + side + " on " + tunnel
	case d.Owned:
		return fmt.Sprintf("have the program that owns table %s accept %s", d.Table, match)
	case d.IPTables != "":
		chain := d.Insert[strings.LastIndexByte(d.Insert, ' ')+1:]
		return fmt.Sprintf("%s -I %s %s%s -j ACCEPT", d.IPTables, chain, iptables, tunnel)
	}
	return fmt.Sprintf("nft insert rule %s %s accept", d.Insert, match)
}

// lastingAdvice says what a command of dropAdvice does not do.
func lastingAdvice(d *nft.HostDrop) string {
	if d.Table == "firewalld" || d.UFW || d.Owned {
		return ""
	}
	return " (and in that program's configuration, to make it last)"
}

// dropped follows a packet from the mesh through other programs' rules, and makes the
// explanation say so if one drops it.
func (l *lookup) dropped(k *kernel) error {
	from := nft.HostPacket{
		Hook: firewall.HookPrerouting, In: l.policy.Interface, Source: l.query.Source, Destination: l.query.Destination,
		Protocol: cmp.Or(l.query.Protocol, firewall.ProtocolTCP), Port: l.query.Port, Mark: l.policy.TunnelMark,
	}
	next := from
	switch next.Mark = 0; l.Path {
	case firewall.PathLocal:
		next.Hook = firewall.HookInput
	case firewall.PathBypass:
		next.Hook, next.Out = firewall.HookForward, l.view.Unmarked.Interface
	case firewall.PathTunnel:
		next.Hook, next.Out, next.Mark = firewall.HookForward, l.policy.Interface, l.policy.TunnelMark
	default:
		return nil
	}
	drops, err := k.HostDrops(l.policy.Table, []nft.HostPacket{from, next})
	if err != nil {
		return err
	}
	for _, d := range drops {
		if d != nil {
			l.Path = firewall.PathRefused
			l.because(d.Chain, "drops it: %s", dropReason(d))
			return nil
		}
	}
	if next.Hook != firewall.HookForward {
		return nil
	}
	legacy, err := k.LegacyDrops(l.policy.Interface)
	for _, d := range legacy {
		if d.IPv6 == l.query.Destination.Is6() {
			l.because("legacy", "%s", legacyReason(d, l.policy.Interface))
		}
	}
	return err
}
