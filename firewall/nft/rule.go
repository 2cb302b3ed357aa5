package nft

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// rule is a policy-routing rule in the kernel.
type rule struct {
	firewall.RoutingRule
	protocol byte
	special  bool // has anything that ours never have
}

// Of linux/fib_rules.h, where package unix lacks them.
const (
	frActToTable         = 1
	fraPriority          = 6
	fraFwmark            = 10
	fraSuppressPrefixLen = 14
	fraTable             = 15
	fraFwmask            = 16
	fraProtocol          = 21
	noPrefixLen          = 0xffffffff
)

func (r rule) String() string {
	family := "IPv4"
	if r.IPv6 {
		family = "IPv6"
	}
	return fmt.Sprintf("%s rule of priority %d for mark %#x/%#x and routing table %d", family, r.Priority, r.Mark, r.Mask, r.Table)
}

func (s *socket) rules(family byte) ([]rule, error) {
	var out []rule
	err := s.dump(unix.RTM_GETRULE, func(e *encoder) {
		e.b = append(e.b, family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	}, func() { out = out[:0] }, func(m message) {
		if r, ok := parseRule(m); ok {
			out = append(out, r)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list routing rules: %w", err)
	}
	return out, nil
}

// parseRule reads struct fib_rule_hdr and what follows.
func parseRule(m message) (rule, bool) {
	b := m.body
	if m.typ != unix.RTM_NEWRULE && m.typ != unix.RTM_DELRULE || len(b) < unix.SizeofRtMsg {
		return rule{}, false
	}
	r := rule{special: b[1] != 0 || b[2] != 0 || b[3] != 0 || b[7] != frActToTable || ne32(b[8:]) != 0}
	r.IPv6, r.Table = b[0] == unix.AF_INET6, int(b[4])
	for typ, v := range attributes(b[unix.SizeofRtMsg:]) {
		switch typ {
		case fraPriority:
			r.Priority = int(ne32(v))
		case fraFwmark:
			r.Mark = ne32(v)
		case fraFwmask:
			r.Mask = ne32(v)
		case fraTable:
			r.Table = int(ne32(v))
		case fraProtocol:
			r.protocol = lsb(v)
		case fraSuppressPrefixLen:
			switch ne32(v) {
			case noPrefixLen:
			case 0:
				r.NotDefault = true
			default:
				r.special = true
			}
		default:
			r.special = true
		}
	}
	return r, true
}

func addRule(r firewall.RoutingRule) change {
	c := ruleChange("add ", unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, r, unix.RTPROT_STATIC)
	c.fine = []unix.Errno{unix.EEXIST}
	return c
}

func deleteRule(r rule) change {
	c := ruleChange("delete ", unix.RTM_DELRULE, 0, r.RoutingRule, r.protocol)
	c.fine = []unix.Errno{unix.ENOENT, unix.ESRCH}
	return c
}

func ruleChange(what string, typ, flags uint16, r firewall.RoutingRule, protocol byte) change {
	return change{what: what + rule{RoutingRule: r}.String(), typ: typ, flags: flags, fill: func(e *encoder) {
		family, table := byte(unix.AF_INET), byte(unix.RT_TABLE_UNSPEC)
		if r.IPv6 {
			family = unix.AF_INET6
		}
		if r.Table < 256 {
			table = byte(r.Table)
		}
		e.b = append(e.b, family, 0, 0, 0, table, 0, 0, frActToTable, 0, 0, 0, 0)
		e.ne32(fraPriority, uint32(r.Priority))
		e.ne32(fraFwmark, r.Mark)
		e.ne32(fraFwmask, r.Mask)
		e.ne32(fraTable, uint32(r.Table))
		e.bytes(fraProtocol, []byte{protocol})
		if r.NotDefault {
			e.ne32(fraSuppressPrefixLen, 0)
		}
	}}
}
