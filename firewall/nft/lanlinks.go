package nft

import (
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// lanLinks remembers which interfaces lead to the networks behind this node. To find
// them takes all of main, which is therefore read again only after a change that
// concerns them.
type lanLinks struct {
	mu       sync.Mutex // guards what follows
	followed bool       // events tell of changes
	networks []netip.Prefix
	found    map[netip.Prefix][]uint32
}

// expect replaces the networks, and reports whether they are others than before.
func (l *lanLinks) expect(networks []netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Equal(l.networks, networks) {
		return false
	}
	l.networks, l.found = slices.Clone(networks), map[netip.Prefix][]uint32{}
	return true
}

// follow says whether events tell of changes.
func (l *lanLinks) follow(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.followed = on
	clear(l.found)
}

func (l *lanLinks) any() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.networks) > 0
}

// forget makes the next look read main again.
func (l *lanLinks) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.found)
}

// lookup returns the interfaces to a network; find finds them. An event during find
// concerns what is kept then, too: find is called again the next time.
func (l *lanLinks) lookup(network netip.Prefix, find func() ([]uint32, error)) ([]uint32, error) {
	l.mu.Lock()
	known, ok := l.found[network]
	keep := l.followed && slices.Contains(l.networks, network)
	if keep && !ok {
		l.found[network] = nil
	}
	l.mu.Unlock()
	if ok && known != nil {
		return known, nil
	}
	links, err := find()
	if err != nil || len(links) == 0 {
		return links, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, undisturbed := l.found[network]; keep && undisturbed {
		l.found[network] = links
	}
	return links, nil
}

// concerns reports whether an event is about a route of main to one of the networks, or
// ends an interface that leads to one: IPv4 routes go with it without an event.
func (l *lanLinks) concerns(m netlink.Message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.networks) == 0 {
		return false
	}
	switch m.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		r, ok := netlink.ParseRoute(m)
		return ok && r.Table == firewall.RouteMain && r.Type == unix.RTN_UNICAST && slices.ContainsFunc(l.networks, r.Destination.Overlaps)
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		link := netlink.ParseLink(m)
		if m.Type == unix.RTM_NEWLINK && link.Up {
			return false
		}
		for _, links := range l.found {
			if slices.Contains(links, link.Index) {
				return true
			}
		}
	}
	return false
}
