package mesh

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func addrs(s string) []netip.Addr {
	var out []netip.Addr
	for _, f := range strings.Fields(s) {
		out = append(out, netip.MustParseAddr(f))
	}
	return out
}

func prefixes(s string) []netip.Prefix {
	var out []netip.Prefix
	for _, f := range strings.Fields(s) {
		out = append(out, netip.MustParsePrefix(f))
	}
	return out
}

func addrPorts(s string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, f := range strings.Fields(s) {
		out = append(out, netip.MustParseAddrPort(f))
	}
	return out
}

func filters(t testing.TB, s string) []Filter {
	t.Helper()
	out := []Filter{}
	for _, f := range strings.Fields(s) {
		filter, err := ParseFilter(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, filter)
	}
	return out
}

func TestFilterAddrs(t *testing.T) {
	const in = "10.0.0.1 192.168.1.1 10.0.0.2 2001:db8::1 fd00::1 10.0.0.1"
	for _, c := range []struct{ name, filters, want string }{
		{"none", "", ""},
		{"all v4, order and duplicates", "0.0.0.0/0", "10.0.0.1 192.168.1.1 10.0.0.2"},
		{"grouped by filter", "::/0 10.0.0.0/8", "2001:db8::1 fd00::1 10.0.0.1 10.0.0.2"},
		{"only refusing", "!10.0.0.0/8", ""},
		{"refuse after", "0.0.0.0/0 !10.0.0.0/8", "192.168.1.1"},
		{"refuse before", "!10.0.0.0/8 0.0.0.0/0", "10.0.0.1 192.168.1.1 10.0.0.2"},
		{"admit again", "0.0.0.0/0 !10.0.0.0/8 10.0.0.2", "192.168.1.1 10.0.0.2"},
		{"bare address", "10.0.0.2", "10.0.0.2"},
		{"refuse a bare address", "10.0.0.0/8 !10.0.0.2", "10.0.0.1"},
		{"unmasked prefix", "10.9.9.9/8", "10.0.0.1 10.0.0.2"},
		{"IPv4 prefixes leave IPv6 alone", "::/0 !0.0.0.0/0", "2001:db8::1 fd00::1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := FilterAddrs(addrs(in), filters(t, c.filters)); !slices.Equal(got, addrs(c.want)) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestParseFilter(t *testing.T) {
	for s, want := range map[string]string{
		"10.0.0.0/8":     "10.0.0.0/8",
		"!10.0.0.0/8":    "!10.0.0.0/8",
		"192.0.2.1":      "192.0.2.1/32",
		"!2001:db8::1":   "!2001:db8::1/128",
		"2001:db8::1/32": "2001:db8::1/32",
	} {
		f, err := ParseFilter(s)
		if err != nil || f.String() != want {
			t.Errorf("ParseFilter(%q) = %v, %v; want %s", s, f, err, want)
		}
		if again, err := ParseFilter(f.String()); err != nil || again != f {
			t.Errorf("ParseFilter(%v) = %v, %v", f, again, err)
		}
	}
	for _, s := range []string{"", "!", "!!10.0.0.0/8", "eth0", "10.0.0.0/33", "10.0.0", "fe80::1%eth0", " 10.0.0.1"} {
		if f, err := ParseFilter(s); err == nil {
			t.Errorf("ParseFilter(%q) = %v, want an error", s, f)
		} else if !strings.HasPrefix(err.Error(), `filter "`+s+`": `) {
			t.Errorf("ParseFilter(%q): error %q doesn't name it", s, err)
		}
	}
}

func TestAddressFilter(t *testing.T) {
	for _, c := range []struct {
		filter, link, addr string
		want               bool
	}{
		{"eth0", "eth0", "10.0.0.1", true},
		{"eth0", "eth01", "10.0.0.1", false},
		{"eth*", "eth01", "10.0.0.1", true},
		{"eth*", "eth", "10.0.0.1", true},
		{"eth*", "br0", "10.0.0.1", false},
		{"*", "anything", "2001:db8::1", true},
		{"br-0a1b2c3d4e5f", "br-0a1b2c3d4e5f", "10.0.0.1", true},
		{"dead.beef", "dead.beef", "10.0.0.1", true},
		{"10.0.0.0/8", "eth0", "10.0.0.1", true},
		{"10.0.0.2", "eth0", "10.0.0.1", false},
		{"2001:db8::/32", "eth0", "2001:db8::1", true},
	} {
		for _, bang := range []string{"", "!"} {
			f, err := ParseAddressFilter(bang + c.filter)
			if err != nil {
				t.Errorf("ParseAddressFilter(%q): %v", bang+c.filter, err)
				continue
			}
			if f.Refuse != (bang != "") {
				t.Errorf("ParseAddressFilter(%q).Refuse = %v", bang+c.filter, f.Refuse)
			}
			if got := f.Matches(c.link, netip.MustParseAddr(c.addr)); got != c.want {
				t.Errorf("%v matches %s on %s = %v", f, c.addr, c.link, got)
			}
			if again, err := ParseAddressFilter(f.String()); err != nil || again != f {
				t.Errorf("ParseAddressFilter(%v) = %v, %v", f, again, err)
			}
		}
	}
	for _, s := range []string{"", "!", "!!eth0", "et*h", "eth**", "a b", "sixteencharacter", "10.0.0", "10.0.0.0/33", "::g", "a/b", "fe80::1%eth0"} {
		if f, err := ParseAddressFilter(s); err == nil {
			t.Errorf("ParseAddressFilter(%q) = %v, want an error", s, f)
		}
	}
}

func TestFilterText(t *testing.T) {
	var f Filter
	if err := f.UnmarshalText([]byte("!10.0.0.0/8")); err != nil {
		t.Fatal(err)
	}
	if b, err := f.MarshalText(); err != nil || string(b) != "!10.0.0.0/8" {
		t.Errorf("MarshalText = %s, %v", b, err)
	}
	var a AddressFilter
	if err := a.UnmarshalText([]byte("!docker*")); err != nil {
		t.Fatal(err)
	}
	if b, err := a.MarshalText(); err != nil || string(b) != "!docker*" {
		t.Errorf("MarshalText = %s, %v", b, err)
	}
}
