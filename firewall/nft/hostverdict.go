package nft

import (
	"bytes"
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
)

// Verdicts (linux/netfilter.h), beside those of nftables, which are negative.
const (
	verdictDrop   = 0
	verdictAccept = 1
	verdictOther  = 2 // stands for all that is not followed further
)

// truth is whether a rule matches a packet of which not everything is known.
type truth int8

const (
	no truth = iota
	maybe
	yes
)

// verdicts follows one packet through rules of other programs.
type verdicts struct {
	rules   *hostRules
	packet  *HostPacket
	in, out uint32 // indices of the interfaces
	table   *table
	routing *routing

	mark        uint32
	markKnown   bool
	reversePath bool // a rule of the base chain looked for the way back
	fleeting    bool // the end depends on more than rules: on routes, or elements of a set
	steps       int  // that are left
	reg         registers
}

// lasting reports whether the packet's end is the same as long as no rule changes.
func (v *verdicts) lasting() bool { return !v.fleeting && v.steps >= 0 }

// registers are the kernel's, of which some bytes are not known.
type registers struct {
	data  [64]byte
	known [64]bool
}

// span returns where a register is; ok is false if n bytes do not fit.
func span(register uint32, n int) (at int, ok bool) {
	switch {
	case register >= unix.NFT_REG_1 && register <= unix.NFT_REG_4:
		at = int(register-unix.NFT_REG_1) * 16
	case register >= unix.NFT_REG32_00 && register <= unix.NFT_REG32_15:
		at = int(register-unix.NFT_REG32_00) * 4
	default:
		return 0, false
	}
	return at, n >= 0 && at+n <= 64
}

// store writes a value; nil is n bytes that are not known.
func (r *registers) store(register uint32, value []byte, n int) {
	at, ok := span(register, max(n, len(value)))
	if !ok {
		return
	}
	for i := range max(n, len(value)) {
		r.known[at+i] = value != nil && i < len(value)
		if r.known[at+i] {
			r.data[at+i] = value[i]
		}
	}
}

// load returns n bytes, and which of them are known; nil if they do not fit.
func (r *registers) load(register uint32, n int) (data []byte, known []bool) {
	at, ok := span(register, n)
	if !ok {
		return nil, nil
	}
	return r.data[at : at+n], r.known[at : at+n]
}

// rule returns whether a rule matches the packet, its verdict, and the chain that it
// leads to.
func (v *verdicts) rule(c *hostChain, r *hostRule) (matches truth, code int32, to string) {
	v.reg = registers{}
	matches = yes
	for _, e := range r.exprs {
		if code, to = e.verdict(); code != unix.NFT_CONTINUE {
			return matches, code, to
		}
		found := yes
		switch e.name {
		case "lookup":
			if found, code, to = v.lookup(c, e); found == yes && code != unix.NFT_CONTINUE {
				return matches, code, to
			}
		case "reject":
			return matches, verdictDrop, ""
		case "target":
			if code = v.target(e); code != unix.NFT_CONTINUE {
				return matches, code, ""
			}
		case "queue", "tproxy", "synproxy", "fwd":
			return matches, verdictOther, ""
		default:
			found = v.match(e)
		}
		if matches = min(matches, found); matches == no {
			return no, unix.NFT_CONTINUE, ""
		}
	}
	return matches, unix.NFT_CONTINUE, ""
}

// match evaluates an expression that has no verdict.
func (v *verdicts) match(e hostExpr) truth {
	switch e.name {
	case "counter", "log", "last", "notrack", "dynset", "flow_offload":
	case "immediate":
		d, _ := e.number(unix.NFTA_IMMEDIATE_DREG)
		v.reg.store(d, value(e, unix.NFTA_IMMEDIATE_DATA), 0)
	case "meta":
		v.meta(e)
	case "payload":
		v.payload(e)
	case "ct":
		v.ct(e)
	case "fib":
		v.fib(e)
	case "bitwise":
		v.bitwise(e)
	case "byteorder":
		v.byteorder(e)
	case "cmp":
		return v.compare(e)
	case "range":
		return v.between(e)
	case "match":
		return v.xtMatch(e)
	default: // it may match or not, and write any register
		v.reg.known = [64]bool{}
		return maybe
	}
	return yes
}

// value returns the bytes of an attribute that holds data.
func value(e hostExpr, typ uint16) []byte {
	return hostExpr{data: e.attribute(typ)}.attribute(unix.NFTA_DATA_VALUE)
}

func (v *verdicts) bitwise(e hostExpr) {
	s, _ := e.number(unix.NFTA_BITWISE_SREG)
	d, _ := e.number(unix.NFTA_BITWISE_DREG)
	n, _ := e.number(unix.NFTA_BITWISE_LEN)
	keep, flip := value(e, unix.NFTA_BITWISE_MASK), value(e, unix.NFTA_BITWISE_XOR)
	data, known := v.reg.load(s, int(n))
	to, toKnown := v.reg.load(d, int(n))
	if to == nil || data == nil || len(keep) != int(n) || len(flip) != int(n) {
		v.reg.store(d, nil, int(n))
		return
	}
	for i := range data {
		to[i], toKnown[i] = data[i]&keep[i]^flip[i], known[i] || keep[i] == 0
	}
}

func (v *verdicts) byteorder(e hostExpr) {
	s, _ := e.number(unix.NFTA_BYTEORDER_SREG)
	d, _ := e.number(unix.NFTA_BYTEORDER_DREG)
	n, _ := e.number(unix.NFTA_BYTEORDER_LEN)
	size, _ := e.number(unix.NFTA_BYTEORDER_SIZE)
	data, known := v.reg.load(s, int(n))
	if data == nil || slices.Contains(known, false) || size == 0 || n%size != 0 {
		v.reg.store(d, nil, int(n))
		return
	}
	swapped := slices.Clone(data)
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		for part := swapped; len(part) > 0; part = part[size:] {
			slices.Reverse(part[:size])
		}
	}
	v.reg.store(d, swapped, 0)
}

func (v *verdicts) compare(e hostExpr) truth {
	s, _ := e.number(unix.NFTA_CMP_SREG)
	op, _ := e.number(unix.NFTA_CMP_OP)
	want := value(e, unix.NFTA_CMP_DATA)
	got, known := v.reg.load(s, len(want))
	if got == nil {
		return maybe
	}
	if slices.Contains(known, false) {
		for i := range got { // one byte may decide
			if known[i] && got[i] != want[i] && op == unix.NFT_CMP_EQ {
				return no
			} else if known[i] && got[i] != want[i] && op == unix.NFT_CMP_NEQ {
				return yes
			}
		}
		return maybe
	}
	order := bytes.Compare(got, want)
	switch op {
	case unix.NFT_CMP_EQ:
		return truthOf(order == 0)
	case unix.NFT_CMP_NEQ:
		return truthOf(order != 0)
	case unix.NFT_CMP_LT:
		return truthOf(order < 0)
	case unix.NFT_CMP_LTE:
		return truthOf(order <= 0)
	case unix.NFT_CMP_GT:
		return truthOf(order > 0)
	case unix.NFT_CMP_GTE:
		return truthOf(order >= 0)
	}
	return no
}

func (v *verdicts) between(e hostExpr) truth {
	s, _ := e.number(unix.NFTA_RANGE_SREG)
	op, _ := e.number(unix.NFTA_RANGE_OP)
	from, to := value(e, unix.NFTA_RANGE_FROM_DATA), value(e, unix.NFTA_RANGE_TO_DATA)
	got, known := v.reg.load(s, len(from))
	if got == nil || slices.Contains(known, false) {
		return maybe
	}
	inside := bytes.Compare(got, from) >= 0 && bytes.Compare(got, to) <= 0
	return truthOf(inside == (op == unix.NFT_RANGE_EQ))
}

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// target returns the verdict of a target of iptables.
func (v *verdicts) target(e hostExpr) int32 {
	switch netlink.Text(e.attribute(unix.NFTA_TARGET_NAME)) {
	case "REJECT":
		return verdictDrop
	case "MARK":
		info := e.attribute(unix.NFTA_TARGET_INFO)
		revision, _ := e.number(unix.NFTA_TARGET_REV)
		if v.markKnown = v.markKnown && revision == 2 && len(info) >= 8; v.markKnown {
			v.mark = v.mark&^binary.NativeEndian.Uint32(info[4:]) ^ binary.NativeEndian.Uint32(info)
		}
	case "CONNMARK":
		v.markKnown = false
	case "LOG", "NFLOG", "TCPMSS", "CT", "CLASSIFY", "TRACE", "DSCP", "SET":
	default:
		return verdictOther
	}
	return unix.NFT_CONTINUE
}

// lookup evaluates a look-up in a set, whose element may have a verdict.
func (v *verdicts) lookup(c *hostChain, e hostExpr) (found truth, code int32, to string) {
	s, _ := e.number(unix.NFTA_LOOKUP_SREG)
	flags, _ := e.number(unix.NFTA_LOOKUP_FLAGS)
	name := netlink.Text(e.attribute(unix.NFTA_LOOKUP_SET))
	set := v.rules.set(v.table, chainKey{c.family, c.table, name})
	v.fleeting = v.fleeting || !anonymous(name)
	found, data := maybe, []byte(nil)
	if set != nil {
		if key, known := v.reg.load(s, set.keySize); key != nil && !slices.Contains(known, false) {
			data, found = set.find(key)
		}
	}
	d, mapped := e.number(unix.NFTA_LOOKUP_DREG)
	switch {
	case mapped && d == unix.NFT_REG_VERDICT && found == maybe:
		return yes, verdictOther, ""
	case mapped && d == unix.NFT_REG_VERDICT && found == yes:
		code, to = verdictIn(data)
		return yes, code, to
	case mapped:
		v.reg.known = [64]bool{}
		v.reg.store(d, hostExpr{data: data}.attribute(unix.NFTA_DATA_VALUE), 0)
	case flags&unix.NFT_LOOKUP_F_INV != 0:
		found = yes - found
	}
	return found, unix.NFT_CONTINUE, ""
}

// protocol returns the number of the packet's transport protocol, if it is known.
func (v *verdicts) protocol() []byte {
	if n := v.packet.Protocol.Number(); n != 0 {
		return []byte{n}
	}
	return nil
}

// family returns the packet's IP version as nftables number it.
func (v *verdicts) family() byte {
	if v.packet.v6() {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}
