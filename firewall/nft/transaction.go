package nft

import (
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// Types of set keys, in nft(8)'s numbering.
const (
	keyIPv4 = 7
	keyIPv6 = 8
)

const policyAccept = 1

// maxElements is how many bytes of set elements go into one message: the length
// of an attribute has 16 bits.
const maxElements = 60000

var hooks = map[firewall.Hook]uint32{
	firewall.HookPrerouting:  unix.NF_INET_PRE_ROUTING,
	firewall.HookInput:       unix.NF_INET_LOCAL_IN,
	firewall.HookForward:     unix.NF_INET_FORWARD,
	firewall.HookOutput:      unix.NF_INET_LOCAL_OUT,
	firewall.HookPostrouting: unix.NF_INET_POST_ROUTING,
}

// replace makes the table be rs; whatever it was before is gone in the same
// transaction.
func (b *batch) replace(rs *firewall.Ruleset, exists bool) error {
	if exists {
		b.deleteTable(rs.Table)
	}
	at := b.add(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, step{what: "add nftables table " + rs.Table, rule: -1})
	b.str(unix.NFTA_TABLE_NAME, rs.Table)
	b.be32(unix.NFTA_TABLE_FLAGS, 0)
	comment := commentOf(rs) + "\x00"
	b.bytes(nftaTableUserdata, append([]byte{udataTableComment, byte(len(comment))}, comment...))
	b.end(at)
	for i := range rs.Sets {
		b.set(rs.Table, &rs.Sets[i], uint32(i+1))
	}
	for i := range rs.Chains { // all before any rule, which may jump to a later one
		if err := b.chain(rs.Table, &rs.Chains[i], i); err != nil {
			return err
		}
	}
	for i := range rs.Chains {
		for j := range rs.Chains[i].Rules {
			if err := b.rule(rs, i, j); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *batch) deleteTable(name string) {
	at := b.add(unix.NFT_MSG_DELTABLE, 0, step{what: "delete nftables table " + name, rule: -1})
	b.str(unix.NFTA_TABLE_NAME, name)
	b.end(at)
}

// set declares a set just as nft(8) does, and fills it.
func (b *batch) set(table string, s *firewall.Set, id uint32) {
	at := b.add(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, step{what: "add set " + s.Name, rule: -1})
	b.str(unix.NFTA_SET_TABLE, table)
	b.str(unix.NFTA_SET_NAME, s.Name)
	b.be32(unix.NFTA_SET_FLAGS, unix.NFT_SET_INTERVAL)
	if s.IPv6 {
		b.be32(unix.NFTA_SET_KEY_TYPE, keyIPv6)
	} else {
		b.be32(unix.NFTA_SET_KEY_TYPE, keyIPv4)
	}
	b.be32(unix.NFTA_SET_KEY_LEN, addressLen(s.IPv6))
	b.be32(unix.NFTA_SET_ID, id)
	bigEndian := host(2)
	b.bytes(unix.NFTA_SET_USERDATA, append([]byte{udataSetKeyByteOrder, byte(len(bigEndian))}, bigEndian...))
	b.end(at)
	b.elements(unix.NFT_MSG_NEWSETELEM, table, s.Name, sorted(s.Elements))
}

// elements adds intervals to a set, or removes them.
func (b *batch) elements(typ uint16, table, set string, all []interval) {
	what, flags := "add to set ", uint16(unix.NLM_F_CREATE)
	if typ == unix.NFT_MSG_DELSETELEM {
		what, flags = "remove from set ", 0
	}
	for len(all) > 0 {
		at := b.add(typ, flags, step{what: what + set, rule: -1})
		b.str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		b.str(unix.NFTA_SET_ELEM_LIST_SET, set)
		list := b.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for len(all) > 0 && len(b.b)-list < maxElements {
			b.element(all[0].from, false)
			if all[0].to.IsValid() {
				b.element(all[0].to, true)
			}
			all = all[1:]
		}
		b.endNest(list)
		b.end(at)
	}
}

// flush empties a set.
func (b *batch) flush(table, set string) {
	at := b.add(unix.NFT_MSG_DELSETELEM, 0, step{what: "flush set " + set, rule: -1})
	b.str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	b.str(unix.NFTA_SET_ELEM_LIST_SET, set)
	b.end(at)
}

func (b *batch) chain(table string, c *firewall.Chain, i int) error {
	at := b.add(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, step{what: "add chain " + c.Name, chain: i, rule: -1})
	b.str(unix.NFTA_CHAIN_TABLE, table)
	b.str(unix.NFTA_CHAIN_NAME, c.Name)
	if c.Hook != "" {
		number, ok := hooks[c.Hook]
		if !ok {
			return fmt.Errorf("chain %s: hook %q is unknown here", c.Name, c.Hook)
		}
		hook := b.nest(unix.NFTA_CHAIN_HOOK)
		b.be32(unix.NFTA_HOOK_HOOKNUM, number)
		b.be32(unix.NFTA_HOOK_PRIORITY, uint32(int32(c.Priority)))
		b.endNest(hook)
		b.be32(unix.NFTA_CHAIN_POLICY, policyAccept)
		b.str(unix.NFTA_CHAIN_TYPE, string(c.Type))
	}
	b.end(at)
	return nil
}

func (b *batch) rule(rs *firewall.Ruleset, chain, rule int) error {
	c := &rs.Chains[chain]
	what := step{what: fmt.Sprintf("add rule %d to chain %s", rule+1, c.Name), chain: chain, rule: rule}
	exprs, err := translate(c.Rules[rule])
	if err != nil {
		return fmt.Errorf("%s: %w", what.what, err)
	}
	at := b.add(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, what)
	b.str(unix.NFTA_RULE_TABLE, rs.Table)
	b.str(unix.NFTA_RULE_CHAIN, c.Name)
	list := b.nest(unix.NFTA_RULE_EXPRESSIONS)
	for _, e := range exprs {
		data, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err != nil {
			return fmt.Errorf("%s: %w", what.what, err)
		}
		b.bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, data)
	}
	b.endNest(list)
	b.end(at)
	return nil
}
