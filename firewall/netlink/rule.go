package netlink

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Rule is a policy-routing rule: packets whose mark has Mark in the bits of Mask
// are looked up in Table.
type Rule struct {
	IPv6            bool
	Priority        int
	Mark, Mask      uint32
	Table           int
	SuppressDefault bool // ignore the default routes of the table (suppress_prefixlength 0)
	Protocol        byte
	From            netip.Prefix // invalid: any source
	Extra           bool         // it has another action, a selector, or anything else that no field holds
}

// Constants of linux/fib_rules.h that package unix lacks.
const (
	frActToTable         = 1
	fraSource            = 2
	fraPriority          = 6
	fraFwmark            = 10
	fraSuppressPrefixLen = 14
	fraTable             = 15
	fraFwmask            = 16
	fraProtocol          = 21
	noPrefixLen          = 0xffffffff
)

// String describes the rule for messages.
func (r Rule) String() string {
	family := "IPv4"
	if r.IPv6 {
		family = "IPv6"
	}
	return fmt.Sprintf("%s rule of priority %d for mark %#x/%#x and routing table %d", family, r.Priority, r.Mark, r.Mask, r.Table)
}

// Rules returns all rules of a family.
func (r *RTNetlink) Rules(family byte) ([]Rule, error) {
	var out []Rule
	err := r.dump(unix.RTM_GETRULE, func(e *Encoder) {
		e.b = append(e.b, family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	}, func() { out = out[:0] }, func(m Message) {
		if one, ok := ParseRule(m); ok {
			out = append(out, one)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list routing rules: %w", err)
	}
	return out, nil
}

// ParseRule decodes a message about a rule (struct fib_rule_hdr and attributes);
// ok is false for any other message.
func ParseRule(m Message) (r Rule, ok bool) {
	b := m.Body
	if m.Type != unix.RTM_NEWRULE && m.Type != unix.RTM_DELRULE || len(b) < unix.SizeofRtMsg {
		return Rule{}, false
	}
	r.Extra = b[1] != 0 || b[2] != 0 || b[3] != 0 || b[7] != frActToTable || hostUint32(b[8:]) != 0
	r.IPv6, r.Table = b[0] == unix.AF_INET6, int(b[4])
	for typ, v := range Attributes(b[unix.SizeofRtMsg:]) {
		switch typ {
		case fraSource:
			a, _ := netip.AddrFromSlice(v)
			r.From = netip.PrefixFrom(a, int(b[2]))
		case fraPriority:
			r.Priority = int(hostUint32(v))
		case fraFwmark:
			r.Mark = hostUint32(v)
		case fraFwmask:
			r.Mask = hostUint32(v)
		case fraTable:
			r.Table = int(hostUint32(v))
		case fraProtocol:
			r.Protocol = firstByte(v)
		case fraSuppressPrefixLen:
			switch hostUint32(v) {
			case noPrefixLen:
			case 0:
				r.SuppressDefault = true
			default:
				r.Extra = true
			}
		default:
			r.Extra = true
		}
	}
	return r, true
}

// AddRule adds a rule. It succeeds if the same rule exists.
func AddRule(r Rule) Change {
	c := ruleChange("add ", unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, r)
	c.accept = []unix.Errno{unix.EEXIST}
	return c
}

// DeleteRule deletes a rule. It succeeds if there is none.
func DeleteRule(r Rule) Change {
	c := ruleChange("delete ", unix.RTM_DELRULE, 0, r)
	c.accept = []unix.Errno{unix.ENOENT, unix.ESRCH}
	return c
}

func ruleChange(verb string, typ, flags uint16, r Rule) Change {
	return Change{what: verb + r.String(), typ: typ, flags: flags, fill: func(e *Encoder) {
		family, table := byte(unix.AF_INET), byte(unix.RT_TABLE_UNSPEC)
		if r.IPv6 {
			family = unix.AF_INET6
		}
		if r.Table < 256 {
			table = byte(r.Table)
		}
		e.b = append(e.b, family, 0, 0, 0, table, 0, 0, frActToTable, 0, 0, 0, 0)
		e.Uint32(fraPriority, uint32(r.Priority))
		e.Uint32(fraFwmark, r.Mark)
		e.Uint32(fraFwmask, r.Mask)
		e.Uint32(fraTable, uint32(r.Table))
		e.Bytes(fraProtocol, []byte{r.Protocol})
		if r.SuppressDefault {
			e.Uint32(fraSuppressPrefixLen, 0)
		}
	}}
}
