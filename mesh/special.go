package mesh

import (
	"net/netip"
	"slices"
)

// SpecialPrefix is a range of addresses that mean something only inside a host
// or on one link.
type SpecialPrefix struct {
	Prefix  netip.Prefix
	Purpose string // "loopback"
}

// specialPrefixes come from IANA's special-purpose and address space registries.
// An inner range comes before the one around it.
var specialPrefixes = []SpecialPrefix{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"},
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4-mapped"},
	{netip.MustParsePrefix("::/16"), "reserved"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// privatePrefixes hold all addresses that are not public: RFC 1918, RFC 6598, RFC 3927,
// RFC 4193 and RFC 4291 §2.5.6. 64:ff9b::/96 (RFC 6052) and IPv4-mapped forms stand for
// public addresses, and are not among them.
var privatePrefixes = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fe80::/10"),
}

// SpecialPrefixes returns the ranges that a mesh never carries: no node may
// advertise a network inside one, no peer may have addresses of one, and the
// firewall routes none of them into the tunnel. A peer may announce a default
// route; it must not get neighbour discovery, DHCP or a cloud's metadata service
// with it.
func SpecialPrefixes() []SpecialPrefix { return slices.Clone(specialPrefixes) }
