package nft

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// maxJumps bounds the chains that are followed from a base chain.
const maxJumps = 64

// Markers returns the base chains of other programs, in the order of a packet that
// this host sends, that may set its mark before chain guard sees it. A chain is
// named as nft(8) wants it: "inet filter output". Except names this program's table.
func (f *Firewall) Markers(except string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, err := f.table.hostRules(except)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, hook := range []uint32{unix.NF_INET_LOCAL_OUT, unix.NF_INET_POST_ROUTING} {
		for _, v6 := range []bool{false, true} {
			for _, c := range h.at(hook, v6) {
				late := hook == unix.NF_INET_POST_ROUTING && c.priority > firewall.PriorityFilter
				if name := c.String(); !late && h.setsMark(&f.table, c) && !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
		}
	}
	return out, nil
}

// setsMark reports whether a rule in a chain, or in one that it leads to, sets the
// packet's mark.
func (h *hostRules) setsMark(t *table, c *hostChain) bool {
	seen := []*hostChain{c}
	for i := 0; i < len(seen) && i < maxJumps; i++ {
		for _, r := range seen[i].rules {
			for _, e := range r.exprs {
				if e.setsMark() {
					return true
				}
				for _, to := range h.leadsTo(t, c, e) {
					next := h.chains[chainKey{c.family, c.table, to}]
					if next != nil && !slices.Contains(seen, next) {
						seen = append(seen, next)
					}
				}
			}
		}
	}
	return false
}

func (e hostExpr) setsMark() bool {
	switch e.name {
	case "meta":
		key, _ := e.number(unix.NFTA_META_KEY)
		return key == unix.NFT_META_MARK && e.attribute(unix.NFTA_META_SREG) != nil
	case "target":
		name := netlink.Text(e.attribute(unix.NFTA_TARGET_NAME))
		return name == "MARK" || name == "CONNMARK"
	}
	return false
}

// leadsTo returns the chains to which an expression of a rule in chain c may lead: a
// verdict, or a map of verdicts.
func (h *hostRules) leadsTo(t *table, c *hostChain, e hostExpr) (chains []string) {
	if _, to := e.verdict(); to != "" {
		return []string{to}
	}
	if d, mapped := e.number(unix.NFTA_LOOKUP_DREG); e.name != "lookup" || !mapped || d != unix.NFT_REG_VERDICT {
		return nil
	}
	set := h.set(t, chainKey{c.family, c.table, netlink.Text(e.attribute(unix.NFTA_LOOKUP_SET))})
	if set == nil {
		return nil
	}
	for _, element := range set.elements {
		if _, to := verdictIn(element.data); to != "" {
			chains = append(chains, to)
		}
	}
	return chains
}

// verdict returns the verdict of an immediate expression, and the chain that it leads
// to. For any other expression it returns NFT_CONTINUE.
func (e hostExpr) verdict() (code int32, chain string) {
	if e.name != "immediate" {
		return unix.NFT_CONTINUE, ""
	}
	return verdictIn(e.attribute(unix.NFTA_IMMEDIATE_DATA))
}

// verdictIn returns the verdict in data (NFTA_DATA_VERDICT), and the chain that it leads
// to. If there is none, it returns NFT_CONTINUE.
func verdictIn(data []byte) (code int32, chain string) {
	v := hostExpr{data: hostExpr{data: data}.attribute(unix.NFTA_DATA_VERDICT)}
	if v.data == nil {
		return unix.NFT_CONTINUE, ""
	}
	n, _ := v.number(unix.NFTA_VERDICT_CODE)
	return int32(n), netlink.Text(v.attribute(unix.NFTA_VERDICT_CHAIN))
}
