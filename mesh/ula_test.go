package mesh

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"testing"
)

const talosClusterID = "8XuV9TZHW08DOk3bVxQjH9ih_TBKjnh-j44tsCLSBzo=" // of Talos' published test vectors

func TestULA(t *testing.T) {
	if got := ULA(talosClusterID).String(); got != "fd7f:175a:b97c:5602::/64" {
		t.Errorf("ULA = %v", got)
	}
	for _, id := range []string{"", "a", "8XuV9TZHW08DOk3bVxQjH9ih/TBKjnh+j44tsCLSBzo="} {
		sum := sha256.Sum256([]byte(id))
		d := hex.EncodeToString(sum[:])
		want := netip.MustParsePrefix("fd" + d[34:36] + ":" + d[36:40] + ":" + d[40:44] + ":" + d[44:46] + "02::/64")
		if got := ULA(id); got != want {
			t.Errorf("ULA(%q) = %v, want %v", id, got, want)
		}
	}
}

func TestNodeAddress(t *testing.T) {
	subnet := ULA(talosClusterID)
	for _, c := range []struct {
		mac  []byte
		want string
	}{
		{[]byte{0x2e, 0x1a, 0xb6, 0x53, 0x81, 0x69}, "fd7f:175a:b97c:5602:2c1a:b6ff:fe53:8169"},
		{[]byte{0xea, 0x71, 0x1b, 0xb2, 0xcc, 0xee}, "fd7f:175a:b97c:5602:e871:1bff:feb2:ccee"},
		{[]byte{0, 1, 2, 3, 4, 5, 6, 7}, "fd7f:175a:b97c:5602:201:203:405:607"},
	} {
		got, err := NodeAddress(subnet, c.mac)
		if err != nil || got.String() != c.want {
			t.Errorf("NodeAddress(%x) = %v, %v; want %v", c.mac, got, err, c.want)
		}
		if !IsKubeSpanULA(got) {
			t.Errorf("IsKubeSpanULA(%v) = false", got)
		}
	}
	for _, n := range []int{0, 5, 7, 9, 20} {
		if got, err := NodeAddress(subnet, make([]byte, n)); err == nil {
			t.Errorf("NodeAddress of %d bytes = %v, want an error", n, got)
		}
	}
	for _, p := range []string{"fd00::/48", "10.0.0.0/8"} {
		if got, err := NodeAddress(netip.MustParsePrefix(p), make([]byte, 6)); err == nil {
			t.Errorf("NodeAddress in %s = %v, want an error", p, got)
		}
	}
}

func TestIsKubeSpanULA(t *testing.T) {
	for addr, want := range map[string]bool{
		"fd7f:175a:b97c:5602::1":   true,
		"fd00:0:0:2::":             true,
		"fd7f:175a:b97c:5603::1":   false, // SideroLink
		"fd7f:175a:b97c:5600::2":   false,
		"fc7f:175a:b97c:5602::1":   false,
		"10.0.0.2":                 false,
		"2001:db8:0:2::1":          false,
		"::ffff:253.0.0.2":         false,
		"fd54:616c:6f73:0:204f::1": false,
	} {
		if got := IsKubeSpanULA(netip.MustParseAddr(addr)); got != want {
			t.Errorf("IsKubeSpanULA(%s) = %v", addr, got)
		}
	}
	if IsKubeSpanULA(netip.Addr{}) {
		t.Error("IsKubeSpanULA of the zero address = true")
	}
}

func TestDerivedAddress(t *testing.T) {
	subnet := ULA("c")
	seen := map[netip.Addr]string{}
	for i := range 256 {
		id := NodeIDFromBytes([32]byte{byte(i)})
		a := DerivedAddress(subnet, id)
		if b := a.As16(); !subnet.Contains(a) || b[8]&3 != 0 || a != DerivedAddress(subnet, id) {
			t.Errorf("DerivedAddress(%s) = %v", id, a)
		}
		if other, ok := seen[a]; ok {
			t.Errorf("%s and %s have the address %v", id, other, a)
		}
		seen[a] = id
	}
}

func TestNodename(t *testing.T) {
	for hostname, want := range map[string]string{
		"web":                "web",
		"Web_01.Example.COM": "web-01.example.com",
		"--.a.b-.":           "a.b",
		"büro pc!":           "bropc",
		"\u212A1":            "k1", // the Kelvin sign is an upper-case k
	} {
		if got, err := Nodename(hostname); err != nil || got != want {
			t.Errorf("Nodename(%q) = %q, %v; want %q", hostname, got, err, want)
		}
	}
	for _, hostname := range []string{"", "-._", "äöü", "___"} {
		if got, err := Nodename(hostname); err == nil {
			t.Errorf("Nodename(%q) = %q, want an error", hostname, got)
		}
	}
}
