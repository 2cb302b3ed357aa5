package nft

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// HostPacket is the first packet of a connection. Fields that are not set are not
// known, and a rule that depends on one counts as undecided.
type HostPacket struct {
	Hook                firewall.Hook // prerouting, input or forward
	In, Out             string        // interfaces
	Source, Destination netip.Addr    // one of them is set: it tells the IP version
	Protocol            firewall.Protocol
	Port                uint16 // of the destination
	Mark                uint32
}

func (p *HostPacket) v6() bool { return p.Source.Is6() || p.Destination.Is6() }

// HostDrop says which chain of another program drops a packet.
type HostDrop struct {
	Chain       string // base chain, as nft(8) wants it: "ip filter FORWARD"
	Insert      string // where a rule that lets the packet pass belongs: as Chain
	Policy      bool   // no rule matches, and the chain's policy is drop
	ReversePath bool   // a check of the way back to the source decides
	Table       string
	Owned       bool // only the program that made the table may change it
	UFW         bool // the rules are ufw's
	// IPTables is the command that manages the chain, such as iptables-nft; empty: nft.
	IPTables string
}

// HostDrops returns for each packet which chain of another program certainly drops it;
// nil if none does, or if that depends on what is not known or not understood. Except
// names this program's table. Only tables of nftables are seen, among them those of
// iptables-nft, and at most maxHostRules rules.
func (f *Firewall) HostDrops(except string, packets []HostPacket) ([]*HostDrop, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*HostDrop, len(packets))
	h, err := f.table.hostRules(except)
	if err != nil || h.tooMany() {
		return out, err
	}
	links, steps := map[string]uint32{"": 0}, maxHostSteps
	for i := range packets {
		p := &packets[i]
		for _, name := range []string{p.In, p.Out} {
			if _, ok := links[name]; ok {
				continue
			}
			link, err := f.routing.rt.Link(name)
			if err != nil {
				return nil, fmt.Errorf("look up interface %s: %w", name, err)
			}
			links[name] = link.Index
		}
		key := hostCase{*p, links[p.In], links[p.Out]}
		known := false
		if out[i], known = h.drops[key]; known {
			continue
		}
		v := verdicts{rules: h, packet: p, mark: p.Mark, markKnown: true, table: &f.table, routing: &f.routing, in: key.in, out: key.out, steps: steps}
		if out[i] = v.drop(); v.lasting() && len(h.drops) < maxHostCases {
			h.drops[key] = out[i]
		}
		steps = v.steps
	}
	return out, nil
}

// drop follows the packet through all base chains of its hook.
func (v *verdicts) drop() *HostDrop {
	h, p := v.rules, v.packet
	for _, c := range h.at(hooks[p.Hook], p.v6()) {
		if c.kind == "nat" {
			continue
		}
		v.reversePath = false
		end := v.chain(c, 0)
		policy := end == endPass && c.drops
		if end != endDrop && !policy {
			continue
		}
		d := &HostDrop{Chain: c.String(), Insert: c.String(), Policy: policy, ReversePath: v.reversePath, Table: c.table, Owned: h.owned[chainKey{family: c.family, table: c.table}]}
		d.IPTables = c.iptables()
		user := chainKey{c.family, c.table, "DOCKER-USER"}
		if p.Hook == firewall.HookForward && h.chains[user] != nil {
			d.Insert = user.String()
		}
		d.UFW = h.chains[chainKey{c.family, c.table, "ufw-user-forward"}] != nil || h.chains[chainKey{c.family, c.table, "ufw6-user-forward"}] != nil
		return d
	}
	return nil
}

// iptables returns the command of iptables-nft that manages a base chain.
func (c *hostChain) iptables() string {
	command := map[byte]string{unix.NFPROTO_IPV4: "iptables-nft", unix.NFPROTO_IPV6: "ip6tables-nft"}[c.family]
	if command == "" || !slices.Contains([]string{"filter", "mangle", "raw", "security"}, c.table) || c.name != strings.ToUpper(c.name) {
		return ""
	}
	return command + " -t " + c.table
}

// End of the evaluation of a chain.
type chainEnd int

const (
	endPass chainEnd = iota // its end was reached
	endAccept
	endDrop
	endUnknown
)

const (
	maxHostSteps = 50_000 // rules that are evaluated for all packets of a call
	maxHostDepth = 16     // jumps
	maxHostCases = 128    // packets whose end is remembered
)

// chain follows a packet through a chain. Of rules that may match or not, those that
// drop change nothing, and others make the end unknown.
func (v *verdicts) chain(c *hostChain, depth int) chainEnd {
	if c == nil || depth > maxHostDepth {
		return endUnknown
	}
	for i := range c.rules {
		if v.steps--; v.steps < 0 {
			return endUnknown
		}
		matches, code, to := v.rule(c, &c.rules[i])
		if matches == no || code == unix.NFT_CONTINUE {
			continue
		}
		end := endUnknown
		switch code {
		case verdictAccept:
			end = endAccept
		case verdictDrop:
			end = endDrop
		case unix.NFT_RETURN:
			end = endPass
		case unix.NFT_JUMP, unix.NFT_GOTO:
			end = v.chain(v.rules.chains[chainKey{c.family, c.table, to}], depth+1)
			if end == endPass && code == unix.NFT_JUMP {
				continue
			}
		}
		switch {
		case matches == yes:
			return end
		case end != endDrop:
			return endUnknown
		}
	}
	return endPass
}
