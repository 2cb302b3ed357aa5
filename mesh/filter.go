package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Filter admits or refuses the addresses inside Prefix.
type Filter struct {
	Refuse bool // written as a leading "!"
	Prefix netip.Prefix
}

// ParseFilter reads a CIDR or a bare IP address with one optional leading "!".
func ParseFilter(s string) (Filter, error) {
	rest, refuse := strings.CutPrefix(s, "!")
	p, err := parsePrefixOrAddr(rest)
	if err != nil {
		return Filter{}, fmt.Errorf("filter %q: %w", s, err)
	}
	return Filter{Refuse: refuse, Prefix: p}, nil
}

// String returns the form that [ParseFilter] reads, a bare IP address as a CIDR.
func (f Filter) String() string { return bang(f.Refuse) + f.Prefix.String() }

// MarshalText returns String.
func (f Filter) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what [ParseFilter] reads.
func (f *Filter) UnmarshalText(b []byte) (err error) {
	*f, err = ParseFilter(string(b))
	return err
}

// FilterAddrs applies filters in order to a result that starts empty. An
// admitting filter appends the matching addresses that the result lacks; a
// refusing filter removes the matching addresses. Therefore the result is ordered
// by filter first, only refusing filters give an empty result, and a later filter
// can admit what an earlier one refused. An IPv4 prefix never matches an IPv6
// address.
func FilterAddrs(addrs []netip.Addr, filters []Filter) []netip.Addr {
	var out []netip.Addr
	for _, f := range filters {
		if f.Refuse {
			out = slices.DeleteFunc(out, f.Prefix.Contains)
			continue
		}
		for _, a := range addrs {
			if f.Prefix.Contains(a) && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// AddressFilter overrides whether addresses of this host are announced. It selects
// them by CIDR or by the name of their link.
type AddressFilter struct {
	Refuse bool         // written as a leading "!"
	Prefix netip.Prefix // selects the addresses inside it on any link, if Link is empty
	Link   string       // a link name, or the beginning of one with a trailing "*"
}

// ParseAddressFilter reads a CIDR, a bare IP address, or a link name with an
// optional trailing "*", with one optional leading "!".
func ParseAddressFilter(s string) (AddressFilter, error) {
	rest, refuse := strings.CutPrefix(s, "!")
	if strings.ContainsAny(rest, "/:") || strings.Trim(rest, "0123456789.") == "" {
		p, err := parsePrefixOrAddr(rest)
		if err != nil {
			return AddressFilter{}, fmt.Errorf("address filter %q: %w", s, err)
		}
		return AddressFilter{Refuse: refuse, Prefix: p}, nil
	}
	name := strings.TrimSuffix(rest, "*")
	bad := func(r rune) bool { return r == '*' || r == '!' || notInLinkName(r) }
	if len(name) > MaxInterfaceName || strings.ContainsFunc(name, bad) {
		return AddressFilter{}, fmt.Errorf("address filter %q: neither a CIDR, nor an IP address, nor a link name with an optional trailing *", s)
	}
	return AddressFilter{Refuse: refuse, Link: rest}, nil
}

// String returns the form that [ParseAddressFilter] reads.
func (f AddressFilter) String() string {
	if f.Link != "" {
		return bang(f.Refuse) + f.Link
	}
	return bang(f.Refuse) + f.Prefix.String()
}

// MarshalText returns String.
func (f AddressFilter) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what [ParseAddressFilter] reads.
func (f *AddressFilter) UnmarshalText(b []byte) (err error) {
	*f, err = ParseAddressFilter(string(b))
	return err
}

// Matches reports whether f selects addr on the link of that name.
func (f AddressFilter) Matches(link string, addr netip.Addr) bool {
	if f.Link == "" {
		return f.Prefix.Contains(addr)
	}
	if beginning, ok := strings.CutSuffix(f.Link, "*"); ok {
		return strings.HasPrefix(link, beginning)
	}
	return link == f.Link
}

func parsePrefixOrAddr(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("neither a CIDR nor an IP address: %q", s)
	}
	return hostPrefix(a), nil
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func bang(refuse bool) string {
	if refuse {
		return "!"
	}
	return ""
}
