package host

import (
	"net/netip"
	"testing"
)

// Addresses that only a route has are this host's, too; the loopback network is such a route.
func TestStays(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::ffff:127.0.0.1": true, "::1": true, "127.255.255.255": true,
		"192.0.2.99": false, "2001:db8::99": false,
	} {
		if got := Stays(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}
