package nft

import (
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/wirespan/wirespan/firewall/netlink"
)

// Values of rp_filter.
const (
	rpOff    = 0
	rpStrict = 1
	rpLoose  = 2
)

// ReversePath holds the settings by which the kernel checks IPv4 source addresses
// (rp_filter): 0 off, 1 strict, 2 loose. The larger value of the two counts.
type ReversePath struct {
	Interface int
	All       int
}

// SetReversePath makes the check loose for packets from one interface. A loose
// check drops packets whose source no route leads to. Without a default route it
// is therefore turned off, if it is off for all interfaces.
func (f *Firewall) SetReversePath(iface string) (ReversePath, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.sysctls.setReversePath(iface)
	if err != nil {
		return r, err
	}
	f.watchSettings(&f.watcher.settings.reverse, map[string]string{
		reversePathOf(iface): strconv.Itoa(r.Interface), reversePathOf("all"): strconv.Itoa(r.All),
	})
	return r, nil
}

func reversePathOf(iface string) string { return "ipv4/conf/" + iface + "/rp_filter" }

func (s *sysctls) setReversePath(iface string) (ReversePath, error) {
	name := reversePathOf(iface)
	all, _ := strconv.Atoi(readSysctl(reversePathOf("all")))
	r := ReversePath{Interface: rpLoose, All: all}
	if all == rpOff && !s.routing.hasDefault4() {
		r.Interface = rpOff
	}
	want := strconv.Itoa(r.Interface)
	if readSysctl(name) == want {
		return r, nil
	}
	if err := s.setConf(iface, netlink.ConfRPFilter, uint32(r.Interface)); err != nil {
		return ReversePath{}, err
	}
	if got := readSysctl(name); got != want && got != "" {
		return ReversePath{}, fmt.Errorf("set net.ipv4.conf.%s.rp_filter to %s: it is still %s", iface, want, got)
	}
	return r, nil
}

// StrictWithMarks reports whether the check of packets from an interface is strict, and
// looks for the route to their source with the packet's mark.
func StrictWithMarks(iface string) bool {
	return largerOf(iface, "rp_filter") == rpStrict && largerOf(iface, "src_valid_mark") != 0
}

// StrictLinks returns the interfaces, but for the tunnel, whose check is strict.
func StrictLinks(tunnel string) []string {
	var out []string
	entries, _ := os.ReadDir("/proc/sys/net/ipv4/conf")
	for _, e := range entries {
		if name := e.Name(); !slices.Contains([]string{"all", "default", "lo", tunnel}, name) && largerOf(name, "rp_filter") == rpStrict {
			out = append(out, name)
		}
	}
	return out
}

// largerOf returns the larger of an interface's own setting and that of all.
func largerOf(iface, setting string) int {
	all, _ := strconv.Atoi(readSysctl("ipv4/conf/all/" + setting))
	own, _ := strconv.Atoi(readSysctl("ipv4/conf/" + iface + "/" + setting))
	return max(all, own)
}
