package codec

import (
	"fmt"
	"net/netip"

	"github.com/wirespan/wirespan/discovery"
)

// maxTextLength bounds names and descriptions, in bytes: the longest DNS name.
const maxTextLength = 253

// cleaner converts untrusted fields to valid values. It counts invalid fields by name.
type cleaner struct {
	names  []string
	counts map[string]int
}

func (c *cleaner) drop(name string) {
	if c.counts == nil {
		c.counts = map[string]int{}
	}
	if c.counts[name]++; c.counts[name] == 1 {
		c.names = append(c.names, name)
	}
}

func (c *cleaner) report() []string {
	var out []string
	for _, name := range c.names {
		out = append(out, fmt.Sprintf("dropped malformed %s (%d)", name, c.counts[name]))
	}
	return out
}

// addr parses a binary address. It returns the zero Addr for an invalid one.
func (c *cleaner) addr(name string, b []byte) netip.Addr {
	ip, ok := parseAddr(b)
	if !ok {
		c.drop(name)
	}
	return ip
}

func (c *cleaner) addrs(in [][]byte) []netip.Addr {
	var out []netip.Addr
	for _, b := range in {
		if ip := c.addr("address", b); ip.IsValid() {
			out = append(out, ip)
		}
	}
	return out
}

// prefixes parses binary prefixes. It keeps host bits; an IPv4-mapped prefix becomes IPv4.
func (c *cleaner) prefixes(name string, in []prefixMessage) []netip.Prefix {
	var out []netip.Prefix
	for _, m := range in {
		ip, ok := netip.AddrFromSlice(m.ip) // only 4 and 16 bytes: no zones
		bits := int(min(m.bits, 129))
		if ip.Is4In6() {
			ip, bits = ip.Unmap(), bits-96
		}
		if p := netip.PrefixFrom(ip, bits); ok && p.IsValid() {
			out = append(out, p)
		} else {
			c.drop(name)
		}
	}
	return out
}

// text accepts printable UTF-8 of bounded length, since it is shown in terminals and logs.
func (c *cleaner) text(name string, b []byte) string {
	if len(b) <= maxTextLength {
		if s := string(b); discovery.Printable(s) {
			return s
		}
	}
	c.drop(name)
	return ""
}

func (c *cleaner) port(name string, p uint32) uint16 {
	if p == 0 || p > 65535 {
		c.drop(name)
		return 0
	}
	return uint16(p)
}

// ParseAddr parses an address in the protocol's binary form, such as the client address
// that a server reports. An IPv4-mapped address becomes IPv4. The unspecified address,
// broadcast and multicast are errors.
func ParseAddr(b []byte) (netip.Addr, error) {
	ip, ok := parseAddr(b)
	if !ok {
		return netip.Addr{}, fmt.Errorf("address %x: not a unicast address", b[:min(len(b), 24)])
	}
	return ip, nil
}

func parseAddr(b []byte) (netip.Addr, bool) {
	ip, ok := netip.AddrFromSlice(b) // only 4 and 16 bytes: no zones
	ip = ip.Unmap()
	if !ok || ip.IsUnspecified() || ip.IsMulticast() || ip == broadcast {
		return netip.Addr{}, false
	}
	return ip, true
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
