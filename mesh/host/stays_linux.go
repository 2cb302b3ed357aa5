package host

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
)

// Stays reports whether by the kernel's routes packets from this host to an address come back
// to it, or go to all hosts of a link. More addresses do than interfaces have: a route of the type
// local can have whole networks. If the kernel does not answer, it reports false.
func Stays(to netip.Addr) bool {
	rt, err := netlink.OpenRTNetlink()
	if err != nil {
		return false
	}
	defer rt.Close()
	r, err := rt.LookupRoute(netlink.RouteQuery{Destination: to.Unmap().WithZone("")})
	if err != nil {
		return false
	}
	switch r.Type {
	case unix.RTN_LOCAL, unix.RTN_BROADCAST, unix.RTN_ANYCAST, unix.RTN_MULTICAST:
		return true
	}
	return false
}
