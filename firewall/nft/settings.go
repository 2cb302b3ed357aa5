package nft

import (
	"strconv"
	"strings"
	"sync"

	"github.com/wirespan/wirespan/firewall/netlink"
)

// settings are the sysctls that are watched, with the values that they should have.
type settings struct {
	mu      sync.Mutex // guards what follows
	reverse map[netlink.Netconf]uint32
	forward map[netlink.Netconf]uint32
}

// watchSettings makes the watcher notify when one of the settings gets another value,
// also if it did so since they were read. List is one of the watcher's.
func (f *Firewall) watchSettings(list *map[netlink.Netconf]uint32, values map[string]string) {
	watched := map[netlink.Netconf]uint32{}
	for name, value := range values {
		n, err := strconv.ParseUint(value, 10, 32)
		if key, ok := f.routing.netconf(name); ok && err == nil {
			watched[key] = uint32(n)
		}
	}
	s := &f.watcher.settings
	s.mu.Lock()
	*list = watched
	s.mu.Unlock()
	for name, value := range values {
		if got := readSysctl(name); got != value && got != "" {
			f.watcher.changed.Notify()
		}
	}
}

// netconf returns the key of a setting; ok is false if events do not tell of it, or its
// interface is gone.
func (r *routing) netconf(name string) (key netlink.Netconf, ok bool) {
	parts := strings.Split(name, "/") // ipv4/conf/eth0/forwarding
	if len(parts) != 4 {
		return key, false
	}
	kinds := map[string]uint16{
		"forwarding": netlink.NetconfForwarding, "rp_filter": netlink.NetconfRPFilter, "force_forwarding": netlink.NetconfUnnamed,
	}
	kind, known := kinds[parts[3]]
	key = netlink.Netconf{IPv6: parts[0] == "ipv6", Index: netlink.NetconfAll, Kind: kind}
	if parts[2] != "all" {
		l, err := r.rt.Link(parts[2])
		if err != nil || l.Index == 0 {
			return key, false
		}
		key.Index = l.Index
	}
	return key, known
}

// concernsSettings reports whether an event gives a watched setting another value.
func (w *watcher) concernsSettings(_ *targets, m netlink.Message) bool {
	w.settings.mu.Lock()
	defer w.settings.mu.Unlock()
	for key, now := range netlink.ParseNetconf(m) {
		for _, list := range []map[netlink.Netconf]uint32{w.settings.reverse, w.settings.forward} {
			if value, ok := list[key]; ok && value != now {
				return true
			}
		}
	}
	return false
}
