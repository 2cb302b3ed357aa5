package nft

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// LostMarks counts own encrypted packets that came without their mark to the chains
// that know them by their port. A change of the table starts the counts anew.
type LostMarks struct {
	Output      uint64 // mended by chain own
	Postrouting uint64 // later: let through by chain guard
}

// LostMarks reads the counts of a table of a ruleset in place.
func (f *Firewall) LostMarks(table string) (LostMarks, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var counts LostMarks
	if _, err := f.table.generation(); err != nil {
		return counts, ignore(err, errNoNftables)
	}
	var err error
	if counts.Output, err = f.table.countOwn(table, firewall.ChainOwn); err == nil {
		counts.Postrouting, err = f.table.countOwn(table, firewall.ChainGuard)
	}
	return counts, err
}

// countOwn returns how many packets matched the rule of a chain that looks for a
// socket.
func (t *table) countOwn(name, chain string) (packets uint64, err error) {
	err = t.nl.Dump(unix.NFT_MSG_GETRULE, func(e *netlink.Encoder) {
		e.Text(unix.NFTA_RULE_TABLE, name)
		e.Text(unix.NFTA_RULE_CHAIN, chain)
	}, func() { packets = 0 }, func(attributes []byte) {
		r := parseRule(attributes)
		if r.table != name || r.chain != chain {
			return
		}
		own := false
		for _, e := range r.exprs {
			key, _ := e.number(unix.NFTA_META_KEY)
			own = own || e.name == "meta" && key == unix.NFT_META_SKUID
			if own && e.name == "counter" {
				packets += netlink.Uint64BE(e.attribute(unix.NFTA_COUNTER_PACKETS))
			}
		}
	})
	if err != nil {
		return 0, fmt.Errorf("read the counts of nftables table %s: %w", name, withAdvice(err))
	}
	return packets, nil
}
