package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/wirespan/wirespan/mesh"
)

// Limits of a policy.
const (
	maxTableName    = 31
	minMTU          = 1280 // the least that IPv6 allows
	maxMTU          = 65535
	maxRulePriority = 32765 // the rule of table main has 32766
)

// Check returns an error for the first number that is not valid. It names the
// setting.
func (n Numbers) Check() error {
	if err := checkTable(n.Table); err != nil {
		return err
	}
	for _, m := range []struct {
		setting string
		mark    uint32
	}{{"firewall.encryptedMark", n.EncryptedMark}, {"firewall.tunnelMark", n.TunnelMark}} {
		if m.mark == 0 {
			return fmt.Errorf("%s: 0 is the mark of ordinary packets; choose bits of firewall.mask (%#x)", m.setting, n.Mask)
		}
		if m.mark&^n.Mask != 0 {
			return fmt.Errorf("%s: %#x has bits outside firewall.mask (%#x)", m.setting, m.mark, n.Mask)
		}
	}
	if n.EncryptedMark == n.TunnelMark {
		return fmt.Errorf("firewall.tunnelMark: %#x equals firewall.encryptedMark; the two marks must differ", n.TunnelMark)
	}
	switch t := n.RoutingTable; {
	case t < 1 || int64(t) > 1<<32-1:
		return fmt.Errorf("firewall.routingTable: %d is not a routing table; choose one from 1 to 4294967295", t)
	case t >= 253 && t <= 255:
		return fmt.Errorf("firewall.routingTable: %d is reserved by the system (253 default, 254 main, 255 local); choose another", t)
	}
	if n.RulePriority < 1 || n.RulePriority > maxRulePriority {
		return fmt.Errorf("firewall.rulePriority: %d is not from 1 to %d; the rule must precede that of table main", n.RulePriority, maxRulePriority)
	}
	return nil
}

func checkTable(name string) error {
	switch {
	case name == "":
		return errors.New("firewall.table: is empty; choose a name for the nftables table")
	case len(name) > maxTableName:
		return fmt.Errorf("firewall.table: %.100q has more than %d characters", name, maxTableName)
	case !letter(name[0]) || strings.ContainsFunc(name, func(r rune) bool { return r > 'z' || !nameByte(byte(r)) }):
		return fmt.Errorf("firewall.table: %q is not a valid nftables name; use a letter, then letters, digits, '_', '-' and '.'", name)
	case slices.Contains(strings.Fields(nftKeywords), name):
		return fmt.Errorf("firewall.table: %q is a keyword of nft; choose another name", name)
	}
	return nil
}

func letter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

func nameByte(b byte) bool {
	return letter(b) || '0' <= b && b <= '9' || strings.IndexByte("_-.", b) >= 0
}

// Check returns an error for the first part of the policy that is not valid. It
// names settings as in the configuration. What no setting determines can only be
// wrong by a mistake of the caller.
func (p Policy) Check() error {
	if err := p.Numbers.Check(); err != nil {
		return err
	}
	if err := mesh.CheckInterfaceName(p.Interface); err != nil {
		return fmt.Errorf("interface: %w", err)
	}
	switch {
	case p.MTU < minMTU || p.MTU > maxMTU:
		return fmt.Errorf("mtu: %d is not from %d to %d", p.MTU, minMTU, maxMTU)
	case p.Subnet.IsValid() && (!p.Subnet.Addr().Is6() || p.Subnet != p.Subnet.Masked()):
		return fmt.Errorf("the cluster's network %v is not an IPv6 network", p.Subnet)
	}
	if err := checkNetworks("routed networks", p.Routed); err != nil {
		return err
	}
	if i := slices.IndexFunc(p.Routed, p.Subnet.Overlaps); p.Subnet.IsValid() && i >= 0 {
		return fmt.Errorf("routed networks: %v overlaps %v, which is on the link", p.Routed[i], p.Subnet)
	}
	for _, special := range mesh.SpecialPrefixes() {
		if i := slices.IndexFunc(p.Routed, special.Prefix.Overlaps); i >= 0 {
			return fmt.Errorf("routed networks: %v overlaps %v (%s), which is never routed", p.Routed[i], special.Prefix, special.Purpose)
		}
	}
	if err := checkNetworks("advertised networks", p.Forwarded); err != nil {
		return err
	}
	if err := checkNetworks("masqueraded networks", p.Masquerade); err != nil {
		return err
	}
	return p.Ingress.Check()
}

// Check returns an error for the first rule or action that is not valid.
func (in *Ingress) Check() error {
	if !slices.Contains([]Action{"", ActionAccept, ActionBlock}, in.Default) {
		return fmt.Errorf("ingress: default action %q is neither %q nor %q", in.Default, ActionAccept, ActionBlock)
	}
	for _, r := range in.Rules {
		what := fmt.Sprintf("ingress rule %q", r.Name)
		switch {
		case r.Protocol.Number() == 0:
			return fmt.Errorf("%s: protocol %q is not one of tcp, udp, icmp, icmpv6", what, r.Protocol)
		case len(r.Ports) > 0 && !r.Protocol.hasPorts():
			return fmt.Errorf("%s: %s has no ports", what, r.Protocol)
		}
		for _, ports := range r.Ports {
			if ports.From > ports.To {
				return fmt.Errorf("%s: port range %v ends before it begins", what, ports)
			}
		}
		if err := checkNetworks(what, r.Sources); err != nil {
			return err
		}
	}
	return nil
}

// checkNetworks returns an error if a list is not sorted and disjoint, as the
// elements of a set have to be.
func checkNetworks(what string, l []netip.Prefix) error {
	for i, n := range l {
		switch {
		case !n.IsValid() || n != n.Masked() || n.Addr().Is4In6():
			return fmt.Errorf("%s: %v is not a network", what, n)
		case i > 0 && n.Overlaps(l[i-1]):
			return fmt.Errorf("%s: %v and %v overlap", what, l[i-1], n)
		case i > 0 && !before(l[i-1], n):
			return fmt.Errorf("%s: %v is listed before %v", what, l[i-1], n)
		}
	}
	return nil
}
