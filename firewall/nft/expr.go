package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// reg is the register that all expressions use.
const reg = unix.NFT_REG_1

// ICMPv6 types of neighbour discovery, RFC 4861.
const (
	ndRouterSolicitation = 133
	ndRedirect           = 137
)

// Header fields: offsets in bytes, flags, and the TCP option of the MSS.
const (
	tcpFlagsAt = 13
	sportAt    = 0
	dportAt    = 2
	tcpSYN     = 2
	tcpRST     = 4
	optMSS     = 2
	optMSSAt   = 2
)

// noUser is the user id that no process has.
const noUser = 1<<32 - 1

// translator turns one rule into the kernel's expressions, as nft(8) does. A
// match may depend on another: an address on the IP version, a port on the
// protocol. The translator adds these matches, each once per rule.
type translator struct {
	out    []expr.Any
	family byte // the IP version that is matched so far; 0: none
	proto  byte // the transport protocol, likewise
}

// translate returns the kernel's expressions for a rule.
func translate(rule firewall.Rule) ([]expr.Any, error) {
	var t translator
	for _, e := range rule {
		if err := t.expr(e); err != nil {
			return nil, err
		}
	}
	return t.out, nil
}

func (t *translator) expr(e firewall.Expr) error {
	switch e := e.(type) {
	case firewall.MarkIs:
		t.add(loadMark(e.CT), mask(host(e.Mask), host(0)), equal(host(e.Value)))
	case firewall.SetMark:
		t.setMark(e)
	case firewall.Direction:
		t.add(&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg}, equal([]byte{flag(e.Reply)}))
	case firewall.StateIs:
		t.state(e)
	case firewall.Interface:
		return t.iface(e)
	case firewall.Address:
		return t.address(e)
	case firewall.InSet:
		t.ip(e.IPv6)
		t.add(loadAddress(e.Source, e.IPv6, addressLen(e.IPv6)),
			&expr.Lookup{SourceRegister: reg, SetName: e.Set, Invert: e.Not})
	case firewall.Family:
		t.ip(e.IPv6)
	case firewall.ProtocolIs:
		return t.protocol(e.Protocol)
	case firewall.DestinationPort:
		return t.port(dportAt, e.Ports)
	case firewall.SourcePort:
		return t.port(sportAt, e.Ports)
	case firewall.FromSocket:
		t.add(&expr.Meta{Key: expr.MetaKeySKUID, Register: reg}, &expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: host(noUser)})
	case firewall.NeighbourDiscovery:
		t.ip(true)
		t.l4(unix.IPPROTO_ICMPV6)
		t.add(transport(0, 1))
		t.between([]byte{ndRouterSolicitation}, []byte{ndRedirect})
	case firewall.ClampMSS:
		t.clamp(e.Size)
	case firewall.Counter:
		t.add(&expr.Counter{})
	case firewall.Masquerade:
		t.add(&expr.Masq{})
	case firewall.Jump:
		t.add(&expr.Verdict{Kind: expr.VerdictJump, Chain: e.Chain})
	case firewall.Verdict:
		kind := expr.VerdictDrop
		if e.Accept {
			kind = expr.VerdictAccept
		}
		t.add(&expr.Verdict{Kind: kind})
	default:
		return fmt.Errorf("expression %v of type %T is not supported", e, e)
	}
	return nil
}

func (t *translator) add(e ...expr.Any) { t.out = append(t.out, e...) }

func (t *translator) setMark(e firewall.SetMark) {
	t.add(loadMark(e.CT), mask(host(^e.Mask), host(e.Value&e.Mask)))
	if e.CT {
		t.add(&expr.Ct{Key: expr.CtKeyMARK, Register: reg, SourceRegister: true})
		return
	}
	t.add(&expr.Meta{Key: expr.MetaKeyMARK, Register: reg, SourceRegister: true})
}

func (t *translator) state(e firewall.StateIs) {
	bits := expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	if e.Invalid {
		bits = expr.CtStateBitINVALID
	}
	t.add(&expr.Ct{Key: expr.CtKeySTATE, Register: reg}, mask(host(bits), host(0)),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: host(0)})
}

func (t *translator) iface(e firewall.Interface) error {
	if e.Name == "" || len(e.Name) >= unix.IFNAMSIZ {
		return fmt.Errorf("interface name %q: it must have 1 to %d characters", e.Name, unix.IFNAMSIZ-1)
	}
	key, op := expr.MetaKeyIIFNAME, expr.CmpOpEq
	if e.Out {
		key = expr.MetaKeyOIFNAME
	}
	if e.Not {
		op = expr.CmpOpNeq
	}
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, e.Name)
	t.add(&expr.Meta{Key: key, Register: reg}, &expr.Cmp{Op: op, Register: reg, Data: name})
	return nil
}

// address compares whole bytes if the prefix length is a multiple of 8, as nft(8)
// does.
func (t *translator) address(e firewall.Address) error {
	if !e.Prefix.IsValid() {
		return fmt.Errorf("address %v is not a prefix", e.Prefix)
	}
	v6 := e.Prefix.Addr().Is6()
	t.ip(v6)
	want := e.Prefix.Masked().Addr().AsSlice()
	bits := e.Prefix.Bits()
	if n := uint32(bits / 8); bits%8 == 0 && bits > 0 {
		t.add(loadAddress(e.Source, v6, n), equal(want[:n]))
		return nil
	}
	t.add(loadAddress(e.Source, v6, addressLen(v6)), mask(netmask(e.Prefix), make([]byte, len(want))), equal(want))
	return nil
}

func (t *translator) protocol(p firewall.Protocol) error {
	switch p {
	case firewall.ProtocolTCP:
		t.l4(unix.IPPROTO_TCP)
	case firewall.ProtocolUDP:
		t.l4(unix.IPPROTO_UDP)
	case firewall.ProtocolICMP:
		t.l4(unix.IPPROTO_ICMP)
	case firewall.ProtocolICMPv6:
		t.l4(unix.IPPROTO_ICMPV6)
	default:
		return fmt.Errorf("protocol %q is not supported", p)
	}
	return nil
}

func (t *translator) port(at uint32, p firewall.PortRange) error {
	if t.proto != unix.IPPROTO_TCP && t.proto != unix.IPPROTO_UDP {
		return fmt.Errorf("ports %d to %d: the rule names no protocol that has ports", p.From, p.To)
	}
	t.add(transport(at, 2))
	if p.From == p.To {
		t.add(equal(network(p.From)))
	} else {
		t.between(network(p.From), network(p.To))
	}
	return nil
}

func (t *translator) clamp(size uint16) {
	t.l4(unix.IPPROTO_TCP)
	option := expr.Exthdr{Type: optMSS, Offset: optMSSAt, Len: 2, Op: expr.ExthdrOpTcpopt}
	load, store := option, option
	load.DestRegister, store.SourceRegister = reg, reg
	t.add(transport(tcpFlagsAt, 1), mask([]byte{tcpSYN | tcpRST}, []byte{0}), equal([]byte{tcpSYN}),
		&load, &expr.Cmp{Op: expr.CmpOpGt, Register: reg, Data: network(size)},
		&expr.Immediate{Register: reg, Data: network(size)}, &store)
}

// ip matches the IP version, unless the rule already does.
func (t *translator) ip(v6 bool) {
	family := byte(unix.NFPROTO_IPV4)
	if v6 {
		family = unix.NFPROTO_IPV6
	}
	if t.family != family {
		t.family = family
		t.add(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}, equal([]byte{family}))
	}
}

// l4 matches the transport protocol, unless the rule already does.
func (t *translator) l4(proto byte) {
	if t.proto != proto {
		t.proto = proto
		t.add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, equal([]byte{proto}))
	}
}

func (t *translator) between(from, to []byte) {
	t.add(&expr.Cmp{Op: expr.CmpOpGte, Register: reg, Data: from},
		&expr.Cmp{Op: expr.CmpOpLte, Register: reg, Data: to})
}

func loadMark(ct bool) expr.Any {
	if ct {
		return &expr.Ct{Key: expr.CtKeyMARK, Register: reg}
	}
	return &expr.Meta{Key: expr.MetaKeyMARK, Register: reg}
}

func loadAddress(source, v6 bool, n uint32) expr.Any {
	at := uint32(12)
	if v6 {
		at = 8
	}
	if !source {
		at += addressLen(v6)
	}
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: n}
}

func transport(at, n uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: at, Len: n}
}

func addressLen(v6 bool) uint32 {
	if v6 {
		return 16
	}
	return 4
}

// mask clears the bits of the register that are not in keep, then flips those in
// flip.
func mask(keep, flip []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: uint32(len(keep)), Mask: keep, Xor: flip}
}

func equal(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data}
}

// host returns a number in host byte order, as in marks.
func host(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// network returns a number in network byte order, as in packets.
func network(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func netmask(p netip.Prefix) []byte {
	m := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}
