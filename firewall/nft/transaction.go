package nft

import (
	"errors"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// Types of set keys, as nft(8) numbers them.
const (
	keyIPv4 = 7
	keyIPv6 = 8
)

const policyAccept = 1

var hooks = map[firewall.Hook]uint32{
	firewall.HookPrerouting:  unix.NF_INET_PRE_ROUTING,
	firewall.HookInput:       unix.NF_INET_LOCAL_IN,
	firewall.HookForward:     unix.NF_INET_FORWARD,
	firewall.HookOutput:      unix.NF_INET_LOCAL_OUT,
	firewall.HookPostrouting: unix.NF_INET_POST_ROUTING,
}

// transaction is a batch of changes to a ruleset's table: the kernel makes all of
// them, or none.
type transaction struct {
	*netlink.Batch
	steps []step // one per message
}

// step says what a message of a transaction does, for errors.
type step struct {
	what  string
	chain int // index of the chain that it adds, or adds a rule to
	rule  int // index in the chain of the rule that it adds; -1: none
}

// commitError says which step of a transaction the kernel refused.
type commitError struct {
	step step
	err  error
}

func (e *commitError) Error() string { return e.step.what + ": " + e.err.Error() }
func (e *commitError) Unwrap() error { return e.err }

// begin starts a transaction. Its commit fails with ERESTART if nftables are in
// another generation by then.
func (t *table) begin(generation uint32) *transaction {
	return &transaction{Batch: t.nl.NewBatch(generation)}
}

// add starts a message of the transaction.
func (tx *transaction) add(typ, flags uint16, what step) int {
	tx.steps = append(tx.steps, what)
	return tx.Add(typ, flags)
}

// commit sends the transaction. It returns a *commitError if the kernel refused
// one of the steps.
func (tx *transaction) commit(send func(*netlink.Batch, func(*netlink.Batch) error) error) error {
	err := send(tx.Batch, (*netlink.Batch).Commit)
	var refused *netlink.BatchError
	if errors.As(err, &refused) {
		return &commitError{tx.steps[refused.Index], refused.Err}
	}
	return err
}

// replaceTable creates the table of rs. It deletes an existing one first.
func (tx *transaction) replaceTable(rs *firewall.Ruleset, exists bool) error {
	if exists {
		tx.deleteTable(rs.Table)
	}
	at := tx.add(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, step{what: "add nftables table " + rs.Table, rule: -1})
	tx.Text(unix.NFTA_TABLE_NAME, rs.Table)
	tx.Uint32BE(unix.NFTA_TABLE_FLAGS, 0)
	comment := commentOf(rs) + "\x00"
	tx.Bytes(netlink.AttrTableUserdata, append([]byte{netlink.UserdataTableComment, byte(len(comment))}, comment...))
	tx.End(at)
	for i := range rs.Sets {
		tx.addSet(rs.Table, &rs.Sets[i], uint32(i+1))
	}
	for i := range rs.Chains { // all chains before the rules, which may jump to any of them
		if err := tx.addChain(rs.Table, &rs.Chains[i], i); err != nil {
			return err
		}
	}
	for i := range rs.Chains {
		for j := range rs.Chains[i].Rules {
			if err := tx.addRule(rs, i, j); err != nil {
				return err
			}
		}
	}
	return nil
}

func (tx *transaction) deleteTable(name string) {
	at := tx.add(unix.NFT_MSG_DELTABLE, 0, step{what: "delete nftables table " + name, rule: -1})
	tx.Text(unix.NFTA_TABLE_NAME, name)
	tx.End(at)
}

// addSet declares a set exactly as nft(8) does, and adds its elements.
func (tx *transaction) addSet(table string, s *firewall.Set, id uint32) {
	at := tx.add(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, step{what: "add set " + s.Name, rule: -1})
	tx.Text(unix.NFTA_SET_TABLE, table)
	tx.Text(unix.NFTA_SET_NAME, s.Name)
	tx.Uint32BE(unix.NFTA_SET_FLAGS, unix.NFT_SET_INTERVAL)
	if s.IPv6 {
		tx.Uint32BE(unix.NFTA_SET_KEY_TYPE, keyIPv6)
	} else {
		tx.Uint32BE(unix.NFTA_SET_KEY_TYPE, keyIPv4)
	}
	tx.Uint32BE(unix.NFTA_SET_KEY_LEN, addressLen(s.IPv6))
	tx.Uint32BE(unix.NFTA_SET_ID, id)
	bigEndian := host(2)
	tx.Bytes(unix.NFTA_SET_USERDATA, append([]byte{netlink.UserdataKeyByteOrder, byte(len(bigEndian))}, bigEndian...))
	tx.End(at)
	tx.addElements(table, s.Name, netlink.Intervals(s.Elements))
}

// changeElements applies the differences of all sets.
func (tx *transaction) changeElements(rs *firewall.Ruleset, sets []setDiff) {
	for i, d := range sets {
		name := rs.Sets[i].Name
		if d.flush {
			tx.flush(rs.Table, name)
		}
		tx.removeElements(rs.Table, name, d.remove)
		tx.addElements(rs.Table, name, d.add)
	}
}

func (tx *transaction) addElements(table, set string, intervals []netlink.Interval) {
	for len(intervals) > 0 {
		tx.steps = append(tx.steps, step{what: "add to set " + set, rule: -1})
		intervals = tx.Elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, table, set, intervals)
	}
}

func (tx *transaction) removeElements(table, set string, intervals []netlink.Interval) {
	for len(intervals) > 0 {
		tx.steps = append(tx.steps, step{what: "remove from set " + set, rule: -1})
		intervals = tx.Elements(unix.NFT_MSG_DELSETELEM, 0, table, set, intervals)
	}
}

// flush removes all elements of a set.
func (tx *transaction) flush(table, set string) {
	at := tx.add(unix.NFT_MSG_DELSETELEM, 0, step{what: "flush set " + set, rule: -1})
	tx.Text(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	tx.Text(unix.NFTA_SET_ELEM_LIST_SET, set)
	tx.End(at)
}

func (tx *transaction) addChain(table string, c *firewall.Chain, i int) error {
	at := tx.add(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, step{what: "add chain " + c.Name, chain: i, rule: -1})
	tx.Text(unix.NFTA_CHAIN_TABLE, table)
	tx.Text(unix.NFTA_CHAIN_NAME, c.Name)
	if c.Hook != "" {
		number, ok := hooks[c.Hook]
		if !ok {
			return fmt.Errorf("chain %s: hook %q is not supported", c.Name, c.Hook)
		}
		hook := tx.Nest(unix.NFTA_CHAIN_HOOK)
		tx.Uint32BE(unix.NFTA_HOOK_HOOKNUM, number)
		tx.Uint32BE(unix.NFTA_HOOK_PRIORITY, uint32(int32(c.Priority)))
		tx.EndNest(hook)
		tx.Uint32BE(unix.NFTA_CHAIN_POLICY, policyAccept)
		tx.Text(unix.NFTA_CHAIN_TYPE, string(c.Type))
	}
	tx.End(at)
	return nil
}

func (tx *transaction) addRule(rs *firewall.Ruleset, chain, rule int) error {
	c := &rs.Chains[chain]
	what := step{what: fmt.Sprintf("add rule %d to chain %s", rule+1, c.Name), chain: chain, rule: rule}
	exprs, err := translate(c.Rules[rule])
	if err != nil {
		return fmt.Errorf("%s: %w", what.what, err)
	}
	at := tx.add(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, what)
	tx.Text(unix.NFTA_RULE_TABLE, rs.Table)
	tx.Text(unix.NFTA_RULE_CHAIN, c.Name)
	list := tx.Nest(unix.NFTA_RULE_EXPRESSIONS)
	for _, e := range exprs {
		data, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err != nil {
			return fmt.Errorf("%s: %w", what.what, err)
		}
		tx.Bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, data)
	}
	tx.EndNest(list)
	tx.End(at)
	return nil
}
