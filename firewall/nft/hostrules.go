package nft

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
)

const (
	// maxHostRules bounds the rules of other programs that are looked at. Hosts with
	// more have rules of their own for each service or container.
	maxHostRules = 5000
	maxHostBytes = 4 << 20 // of their expressions
)

// hostRules are the tables of a host that see IP packets, without this program's, in
// one generation of nftables. While that lasts they are not read again.
type hostRules struct {
	own        string // the table without which they were read
	generation uint32
	chains     map[chainKey]*hostChain
	sets       map[chainKey]*hostSet // those looked into
	owned      map[chainKey]bool     // tables that only their program may change
	drops      map[hostCase]*HostDrop
	rules      int
	bytes      int
}

// hostCase is a packet with the indices of its interfaces.
type hostCase struct {
	packet  HostPacket
	in, out uint32
}

// tooMany reports whether there are more rules than are looked at. They are not kept.
func (h *hostRules) tooMany() bool { return h.rules > maxHostRules || h.bytes > maxHostBytes }

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
	drops    bool   // its policy
	uses     uint32 // by its rules, and by what leads to it
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
	return netlink.Attribute(e.data, typ)
}

// number returns the value of a numeric attribute.
func (e hostExpr) number(typ uint16) (v uint32, ok bool) {
	b := e.attribute(typ)
	return netlink.Uint32BE(b), len(b) >= 4
}

// hostRules returns the rules of all programs but those in the given table of family
// inet and its interim table. It reads them if nftables were changed by others.
func (t *table) hostRules(own string) (*hostRules, error) {
	var h *hostRules
	err := t.transact(func(generation uint32) error {
		if h = t.host; h != nil && h.own == own && h.generation == generation {
			for k := range h.sets {
				if !anonymous(k.name) {
					delete(h.sets, k)
				}
			}
			return nil
		}
		h = &hostRules{own: own, generation: generation, sets: map[chainKey]*hostSet{}, owned: map[chainKey]bool{}, drops: map[hostCase]*HostDrop{}}
		t.host = nil
		if err := t.readHost(h); err != nil {
			return err
		}
		if now, err := t.generation(); err != nil || now != generation {
			return cmp.Or(err, netlink.ErrInterrupted)
		}
		t.host = h
		return nil
	})
	if errors.Is(err, errNoNftables) {
		return &hostRules{drops: map[hostCase]*HostDrop{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the nftables of other programs: %w", withAdvice(err))
	}
	return h, nil
}

// anonymous reports whether a set belongs to a rule: it never changes. Elements of
// others come and go with packets and time, in the same generation.
func anonymous(set string) bool { return strings.HasPrefix(set, "__") }

func (t *table) readHost(h *hostRules) error {
	skip := map[chainKey]bool{}
	err := t.nl.DumpAll(unix.NFT_MSG_GETTABLE, func() { clear(skip) }, func(family byte, attributes []byte) {
		table := hostExpr{data: attributes}
		flags, _ := table.number(unix.NFTA_TABLE_FLAGS)
		name := netlink.Text(table.attribute(unix.NFTA_TABLE_NAME))
		if flags&unix.NFT_TABLE_F_DORMANT != 0 || family == unix.NFPROTO_INET && (name == h.own || name == h.own+"_next") {
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
	// A chain is used by its rules and by what leads to it.
	if h.rules = int(h.uses() / 2); err == nil && !h.tooMany() {
		err = t.nl.DumpAll(unix.NFT_MSG_GETRULE, h.forgetRules, h.add)
	}
	if h.tooMany() {
		h.chains = nil
	}
	return err
}

func (h *hostRules) uses() (n uint64) {
	for _, c := range h.chains {
		n += uint64(c.uses)
	}
	return n
}

func (h *hostRules) forgetRules() {
	h.rules, h.bytes = 0, 0
	for _, c := range h.chains {
		c.rules = nil
	}
}

// add adds a rule, if there is room for it.
func (h *hostRules) add(family byte, attributes []byte) {
	of := hostExpr{data: attributes}
	c := h.chains[chainKey{family, netlink.Text(of.attribute(unix.NFTA_RULE_TABLE)), netlink.Text(of.attribute(unix.NFTA_RULE_CHAIN))}]
	if c == nil {
		return
	}
	h.rules++
	h.bytes += len(attributes)
	if !h.tooMany() {
		c.rules = append(c.rules, parseRule(attributes))
	}
}

func ipFamily(family byte) bool {
	return family == unix.NFPROTO_INET || family == unix.NFPROTO_IPV4 || family == unix.NFPROTO_IPV6
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
	c.uses, _ = e.number(unix.NFTA_CHAIN_USE)
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
	r := hostRule{
		table: netlink.Text(netlink.Attribute(attributes, unix.NFTA_RULE_TABLE)),
		chain: netlink.Text(netlink.Attribute(attributes, unix.NFTA_RULE_CHAIN)),
	}
	list := slices.Clone(netlink.Attribute(attributes, unix.NFTA_RULE_EXPRESSIONS))
	for _, elem := range netlink.Attributes(list) {
		e := hostExpr{data: elem}
		r.exprs = append(r.exprs, hostExpr{netlink.Text(e.attribute(unix.NFTA_EXPR_NAME)), e.attribute(unix.NFTA_EXPR_DATA)})
	}
	return r
}
