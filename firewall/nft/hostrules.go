package nft

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
)

// maxHostRules bounds the rules of other programs that are looked at. Hosts with
// more have rules of their own for each service or container.
const maxHostRules = 5000

// hostRules are the tables of a host that see IP packets, without this program's.
type hostRules struct {
	chains map[chainKey]*hostChain
	sets   map[chainKey]*hostSet // those looked into
	owned  map[chainKey]bool     // tables that only their program may change
	rules  int
}

// chainKey identifies a chain.
type chainKey struct {
	family      byte // NFPROTO_INET, NFPROTO_IPV4 or NFPROTO_IPV6
	table, name string
}

func (k chainKey) String() string {
	return fmt.Sprintf("%s %s %s", map[byte]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6"}[k.family], k.table, k.name)
}

// hostChain is a chain with its rules in order.
type hostChain struct {
	chainKey
	base     bool
	hook     uint32
	priority int32
	kind     string
	drops    bool // its policy
	rules    []hostRule
}

// hostRule is a rule as the kernel describes it.
type hostRule struct {
	table, chain string
	exprs        []hostExpr
}

// hostExpr is an expression of a rule with its attributes.
type hostExpr struct {
	name string
	data []byte
}

// attribute returns the value of an attribute; nil if the expression has none.
func (e hostExpr) attribute(typ uint16) []byte {
	for t, v := range netlink.Attributes(e.data) {
		if t == typ {
			return v
		}
	}
	return nil
}

// number returns the value of a numeric attribute.
func (e hostExpr) number(typ uint16) (v uint32, ok bool) {
	b := e.attribute(typ)
	return netlink.Uint32BE(b), len(b) >= 4
}

// readHost reads the rules of all programs but those in the given tables of family
// inet.
func (t *table) readHost(except ...string) (*hostRules, error) {
	h := &hostRules{sets: map[chainKey]*hostSet{}, owned: map[chainKey]bool{}}
	skip := map[chainKey]bool{}
	err := t.nl.DumpAll(unix.NFT_MSG_GETTABLE, func() { clear(skip) }, func(family byte, attributes []byte) {
		table := hostExpr{data: attributes}
		flags, _ := table.number(unix.NFTA_TABLE_FLAGS)
		name := netlink.Text(table.attribute(unix.NFTA_TABLE_NAME))
		if flags&unix.NFT_TABLE_F_DORMANT != 0 || family == unix.NFPROTO_INET && slices.Contains(except, name) {
			skip[chainKey{family: family, table: name}] = true
		}
		h.owned[chainKey{family: family, table: name}] = flags&netlink.FlagTableOwner != 0
	})
	if err == nil {
		err = t.nl.DumpAll(unix.NFT_MSG_GETCHAIN, func() { h.chains = map[chainKey]*hostChain{} }, func(family byte, attributes []byte) {
			c := parseChain(family, attributes)
			if ipFamily(family) && !skip[chainKey{family: family, table: c.table}] {
				h.chains[c.chainKey] = c
			}
		})
	}
	if err == nil {
		err = t.nl.DumpAll(unix.NFT_MSG_GETRULE, h.forgetRules, func(family byte, attributes []byte) {
			r := parseRule(attributes)
			c := h.chains[chainKey{family, r.table, r.chain}]
			if c == nil {
				return
			}
			if h.rules++; h.rules <= maxHostRules {
				c.rules = append(c.rules, r)
			}
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read the nftables of other programs: %w", withAdvice(err))
	}
	return h, nil
}

func ipFamily(family byte) bool {
	return family == unix.NFPROTO_INET || family == unix.NFPROTO_IPV4 || family == unix.NFPROTO_IPV6
}

func (h *hostRules) forgetRules() {
	h.rules = 0
	for _, c := range h.chains {
		c.rules = nil
	}
}

// at returns the base chains of a hook that see packets of an IP version, in order.
func (h *hostRules) at(hook uint32, v6 bool) []*hostChain {
	var out []*hostChain
	for _, c := range h.chains {
		version := byte(unix.NFPROTO_IPV4)
		if v6 {
			version = unix.NFPROTO_IPV6
		}
		if c.base && c.hook == hook && (c.family == unix.NFPROTO_INET || c.family == version) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *hostChain) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.table, b.table), cmp.Compare(a.name, b.name))
	})
	return out
}

func parseChain(family byte, attributes []byte) *hostChain {
	e := hostExpr{data: attributes}
	c := &hostChain{chainKey: chainKey{family, netlink.Text(e.attribute(unix.NFTA_CHAIN_TABLE)), netlink.Text(e.attribute(unix.NFTA_CHAIN_NAME))}}
	if hook := e.attribute(unix.NFTA_CHAIN_HOOK); hook != nil {
		h := hostExpr{data: hook}
		priority, _ := h.number(unix.NFTA_HOOK_PRIORITY)
		c.base, c.priority = true, int32(priority)
		c.hook, _ = h.number(unix.NFTA_HOOK_HOOKNUM)
		c.kind = netlink.Text(e.attribute(unix.NFTA_CHAIN_TYPE))
		policy, ok := e.number(unix.NFTA_CHAIN_POLICY)
		c.drops = ok && policy == 0
	}
	return c
}

// parseRule copies what it keeps.
func parseRule(attributes []byte) hostRule {
	var r hostRule
	for typ, v := range netlink.Attributes(attributes) {
		switch typ {
		case unix.NFTA_RULE_TABLE:
			r.table = netlink.Text(v)
		case unix.NFTA_RULE_CHAIN:
			r.chain = netlink.Text(v)
		case unix.NFTA_RULE_EXPRESSIONS:
			for _, elem := range netlink.Attributes(slices.Clone(v)) {
				e := hostExpr{data: elem}
				r.exprs = append(r.exprs, hostExpr{netlink.Text(e.attribute(unix.NFTA_EXPR_NAME)), e.attribute(unix.NFTA_EXPR_DATA)})
			}
		}
	}
	return r
}
