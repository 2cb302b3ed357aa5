package node

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/nft"
	"github.com/wirespan/wirespan/mesh"
)

// maxForwardChecks bounds the networks behind this node whose packets are followed
// through the rules of other programs.
const maxForwardChecks = 16

// hostCheck is a packet, and what it stands for.
type hostCheck struct {
	packet nft.HostPacket
	what   string
	insert string // the match of a rule that lets such packets pass
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
	for i, d := range drops {
		if d == nil || len(out) > 0 && out[len(out)-1].Subject == d.Chain {
			continue
		}
		out = append(out, mesh.Condition{
			Type: mesh.ConditionHostDrops, Subject: d.Chain,
			Message: fmt.Sprintf("chain %s drops %s: %s; %s", d.Chain, checks[i].what, dropReason(d), dropAdvice(d, &checks[i], p.Interface)),
		})
	}
	return out, nil
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
	fromTunnel, intoTunnel := fmt.Sprintf("iifname %q", p.Interface), fmt.Sprintf("oifname %q", p.Interface)
	var out []hostCheck
	for _, v6 := range []bool{false, true} {
		if peers[v6].IsValid() {
			out = append(out, hostCheck{
				nft.HostPacket{Hook: firewall.HookPrerouting, In: p.Interface, Source: peers[v6], Protocol: firewall.ProtocolTCP, Mark: p.TunnelMark},
				fmt.Sprintf("what comes from the mesh (as from %s)", peers[v6]), fromTunnel,
			})
		}
	}
	for _, n := range p.Forwarded[:min(len(p.Forwarded), maxForwardChecks)] {
		links, err := k.LinksTo(n)
		if err != nil {
			return nil, err
		}
		for _, link := range links {
			peer, inside := peers[n.Addr().Is6()], n.Addr()
			out = append(out,
				hostCheck{
					nft.HostPacket{Hook: firewall.HookForward, In: p.Interface, Out: link, Source: peer, Destination: inside, Protocol: firewall.ProtocolTCP},
					fmt.Sprintf("what the mesh sends to %s by %s", n, link), fromTunnel,
				},
				hostCheck{
					nft.HostPacket{Hook: firewall.HookForward, In: link, Out: p.Interface, Source: inside, Destination: peer, Protocol: firewall.ProtocolTCP},
					fmt.Sprintf("what %s sends into the mesh by %s", n, link), intoTunnel,
				})
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

// dropAdvice returns what mends it: the command of the program that owns the chain, if
// it is known, else one of nft(8).
func dropAdvice(d *nft.HostDrop, c *hostCheck, tunnel string) string {
	switch {
	case d.Table == "firewalld" && d.ReversePath:
		return "set IPv6_rpfilter=no in /etc/firewalld/firewalld.conf and run firewall-cmd --reload"
	case d.Table == "firewalld":
		return "firewall-cmd --permanent --zone=trusted --add-interface=" + tunnel + ", and firewall-cmd --reload"
	case d.UFW && c.packet.In == tunnel:
		return "ufw route allow in on " + tunnel
	case d.UFW:
		return "ufw route allow out on " + tunnel
	case d.Owned:
		return fmt.Sprintf("have the program that owns table %s accept %s", d.Table, c.insert)
	}
	return fmt.Sprintf("nft insert rule %s %s accept (and in that program's configuration, to make it last)", d.Insert, c.insert)
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
	return nil
}
