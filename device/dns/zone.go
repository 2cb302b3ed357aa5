package dns

import (
	"fmt"
	"net/netip"
	"strings"

	wire "github.com/miekg/dns"
)

const ttl = uint32(TTL / 1e9) // seconds

// zones are the names of the zones that the server answers for, with a final dot.
type zones struct {
	domain  string
	subnet  netip.Prefix
	forward string
	reverse string // empty: none
}

// zonesOf returns the zones of the names at one moment. They are made when they change.
func (s *Server) zonesOf(z Zone) *zones {
	domain, subnet := z.Domain(), z.Subnet()
	if old := s.zones.Load(); old != nil && old.domain == domain && old.subnet == subnet {
		return old
	}
	made := &zones{domain: domain, subnet: subnet, forward: domain + "."}
	if zone := ReverseZone(subnet); zone != "" {
		made.reverse = zone + "."
	}
	s.zones.Store(made)
	return made
}

// ReverseZone returns the zone of the reverse names of an IPv6 network, without a final dot;
// empty if there is none.
func ReverseZone(subnet netip.Prefix) string {
	if !subnet.IsValid() || !subnet.Addr().Is6() || subnet.Bits()%4 != 0 {
		return ""
	}
	var b strings.Builder
	a := subnet.Addr().As16()
	for i := subnet.Bits()/4 - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "%x.", a[i/2]>>(4*(1-i%2))&0xf)
	}
	return b.String() + "ip6.arpa"
}

// local returns the reply to a query about the mesh; nil for any other one.
func (s *Server) local(q *query) *wire.Msg {
	z := s.cfg.Zone()
	names := s.zonesOf(z)
	switch {
	case below(q.Name, names.forward):
		addrs, exists := z.Lookup(q.Name)
		return q.answer(names.forward, exists, func() []wire.RR { return q.addresses(addrs) })
	case names.reverse != "" && below(q.Name, names.reverse):
		nibbles := strings.TrimSuffix(q.Name[:len(q.Name)-len("ip6.arpa.")], ".")
		addr, exists := parseNibbles(nibbles)
		name := ""
		if addr.IsValid() {
			name = z.Reverse(addr)
			exists = name != ""
		}
		return q.answer(names.reverse, exists, func() []wire.RR { return q.pointer(name) })
	}
	if addr := parseReverse4(q.Name); addr.IsValid() {
		if name := z.Reverse(addr); name != "" {
			return q.answer(q.Name, true, func() []wire.RR { return q.pointer(name) })
		}
	}
	return nil
}

// answer returns the reply for a name in the zone apex. The records, if it exists, are those of
// the type asked for; the SOA and NS records of the zone are added.
func (q *query) answer(apex string, exists bool, records func() []wire.RR) *wire.Msg {
	m := q.reply()
	m.Authoritative = true
	soa := func() []wire.RR {
		return []wire.RR{&wire.SOA{
			// As in zones that every resolver has for itself (RFC 6303 §3).
			Hdr: header(apex, wire.TypeSOA), Ns: apex, Mbox: "nobody.invalid.",
			Serial: 1, Refresh: 3600, Retry: 1200, Expire: 604800, Minttl: ttl,
		}}
	}
	switch at := len(q.Name) == len(apex); {
	case !exists:
		m.Rcode = wire.RcodeNameError
	case at && q.Qtype == wire.TypeSOA:
		m.Answer = soa()
	case at && q.Qtype == wire.TypeNS:
		m.Answer = []wire.RR{&wire.NS{Hdr: header(q.Name, wire.TypeNS), Ns: apex}}
	case q.Qtype == wire.TypeANY:
		m.Answer = []wire.RR{&wire.HINFO{Hdr: header(q.Name, wire.TypeHINFO), Cpu: "RFC8482"}}
	default:
		m.Answer = records()
	}
	if len(m.Answer) == 0 {
		m.Ns = soa()
	}
	return m
}

func header(name string, typ uint16) wire.RR_Header {
	return wire.RR_Header{Name: name, Rrtype: typ, Class: wire.ClassINET, Ttl: ttl}
}

// addresses returns the A or AAAA records that are asked for.
func (q *query) addresses(addrs []netip.Addr) (out []wire.RR) {
	for _, a := range addrs {
		switch {
		case q.Qtype == wire.TypeA && a.Is4():
			out = append(out, &wire.A{Hdr: header(q.Name, wire.TypeA), A: a.AsSlice()})
		case q.Qtype == wire.TypeAAAA && a.Is6():
			out = append(out, &wire.AAAA{Hdr: header(q.Name, wire.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	return out
}

// pointer returns the PTR record, if that is asked for.
func (q *query) pointer(name string) []wire.RR {
	if q.Qtype != wire.TypePTR || name == "" {
		return nil
	}
	return []wire.RR{&wire.PTR{Hdr: header(q.Name, wire.TypePTR), Ptr: name + "."}}
}

// below reports whether a name is a zone's or below it. Both have a final dot; the zone is in
// lower case.
func below(name, zone string) bool {
	at := len(name) - len(zone)
	if at < 0 || !equalFold(name[at:], zone) {
		return false
	}
	if at == 0 {
		return true
	}
	before := strings.TrimRight(name[:at-1], `\`) // an escaped dot is part of a label
	return name[at-1] == '.' && (at-1-len(before))%2 == 0
}

// equalFold compares as DNS does: the case of ASCII letters does not matter.
func equalFold(name, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// parseNibbles reads hexadecimal digits, the last of the address first, with dots between. It
// returns the address if all are there, and whether they are the end of one.
func parseNibbles(s string) (addr netip.Addr, ok bool) {
	const most = 32
	var a [16]byte
	n := (len(s) + 1) / 2
	if len(s)%2 == 0 || n > most {
		return netip.Addr{}, false
	}
	for i := range len(s) {
		if i%2 == 1 {
			if s[i] != '.' {
				return netip.Addr{}, false
			}
			continue
		}
		v := strings.IndexByte("0123456789abcdef", s[i]|0x20)
		if v < 0 {
			return netip.Addr{}, false
		}
		digit := n - 1 - i/2
		a[digit/2] |= byte(v) << (4 * (1 - digit%2))
	}
	if n < most {
		return netip.Addr{}, true
	}
	return netip.AddrFrom16(a), true
}

// parseReverse4 returns the address of a reverse name of IPv4; invalid if it is none.
func parseReverse4(name string) netip.Addr {
	const zone = ".in-addr.arpa."
	at := len(name) - len(zone)
	if at < 0 || !equalFold(name[at:], zone) {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(name[:at])
	if err != nil || !a.Is4() {
		return netip.Addr{}
	}
	b := a.As4()
	return netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]})
}
