package nft

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/wirespan/wirespan/firewall/netlink"
)

// ForwardingSpec says between which networks the kernel should forward.
type ForwardingSpec struct {
	Interface string         // of the tunnel
	Networks  []netip.Prefix // behind this node; none: do not forward
}

// SetForwarding makes the kernel forward between the tunnel and the interfaces
// that lead to the networks. For IPv6 before Linux 6.17, which can only forward
// between all interfaces or none, it enables forwarding between all.
//
// Before lists the settings that earlier calls changed, also in another process.
// SetForwarding restores those that are no longer needed, and returns the settings
// that are changed now. The caller keeps them for the next call or for Restore;
// they are valid even if there is an error.
func (f *Firewall) SetForwarding(want ForwardingSpec, before []Sysctl) ([]Sysctl, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watcher.lan.expect(want.Networks) && len(want.Networks) > 0 {
		f.watcher.filterRoutes(netlink.RouteFilter{All: true})
	}
	changed, on, err := f.sysctls.setForwarding(want, before)
	f.watchSettings(&f.watcher.settings.forward, on)
	return changed, err
}

// Restore undoes what SetForwarding changed, except for settings that have been
// changed again since.
func (f *Firewall) Restore(changed []Sysctl) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchSettings(&f.watcher.settings.forward, nil)
	changed, err := f.sysctls.followed(changed)
	return errors.Join(err, f.sysctls.restore(changed))
}

// forwardAll6 is the IPv6 forwarding of all interfaces.
const forwardAll6 = "ipv6/conf/all/forwarding"

// setForwarding returns also the settings that are on now, with their value.
func (s *sysctls) setForwarding(want ForwardingSpec, before []Sysctl) (changed []Sysctl, on map[string]string, err error) {
	needed, err := s.forwardingNames(want)
	if err != nil {
		return before, nil, err
	}
	before, err = s.followed(before)
	if err != nil {
		return before, nil, err
	}
	var keep, drop []Sysctl
	for _, old := range before {
		if slices.Contains(needed, old.Name) || isForwarding6(old.Name) && slices.Contains(needed, forwardAll6) {
			keep = append(keep, old)
		} else {
			drop = append(drop, old)
		}
	}
	errs := []error{s.restore(drop)}
	on = map[string]string{}
	for _, name := range needed {
		changed, err := s.enableForwarding(name)
		if err != nil {
			errs = append(errs, err)
		} else {
			on[name] = "1"
		}
		keep = merge(keep, changed)
	}
	return keep, on, errors.Join(errs...)
}

// enableForwarding sets a setting to 1, and returns the settings that this
// changed.
func (s *sysctls) enableForwarding(name string) ([]Sysctl, error) {
	old := readSysctl(name)
	if old == "1" {
		return nil, nil
	}
	changed := []Sysctl{{Name: name, Previous: old, Set: "1"}}
	if name == forwardAll6 {
		if err := s.routing.checkAdvertisedDefault(); err != nil {
			return nil, err
		}
		changed = append(changed, enabledForwarding6()...)
	}
	changed, err := s.followed(changed)
	if err != nil {
		return nil, err
	}
	switch err := s.write(name, "1"); {
	case errors.Is(err, fs.ErrNotExist): // the interface is gone
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("enable forwarding (net/%s): %w", name, err)
	}
	return changed, nil
}

func (s *sysctls) restore(changed []Sysctl) error {
	var unchanged []Sysctl
	for _, c := range changed { // before any is written, because one of them changes others
		if readSysctl(c.Name) == c.Set {
			unchanged = append(unchanged, c)
		}
	}
	var errs []error
	for _, c := range unchanged {
		if err := s.write(c.Name, c.Previous); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("restore net/%s: %w", c.Name, err))
		}
	}
	return errors.Join(errs...)
}

// forwardingNames returns the names of the settings that have to be 1.
func (s *sysctls) forwardingNames(want ForwardingSpec) ([]string, error) {
	var out []string
	add := func(name string) {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	_, err := os.Stat("/proc/sys/net/ipv6/conf/all/force_forwarding")
	perInterface6 := err == nil
	for _, n := range want.Networks {
		v6 := n.Addr().Is6()
		if !s.routing.supports(v6) {
			continue
		}
		links, err := s.routing.interfacesTo(n)
		if err != nil {
			return nil, err
		}
		for _, name := range append([]string{want.Interface}, links...) {
			switch {
			case !v6:
				add("ipv4/conf/" + name + "/forwarding")
			case perInterface6:
				add("ipv6/conf/" + name + "/force_forwarding")
			default:
				add(forwardAll6)
			}
		}
	}
	return out, nil
}

// enabledForwarding6 returns the interfaces' IPv6 settings that are 1. A write of
// forwardAll6 overwrites them, so restoring it alone would set them to 0.
func enabledForwarding6() []Sysctl {
	entries, err := os.ReadDir("/proc/sys/net/ipv6/conf")
	if err != nil {
		return nil
	}
	var out []Sysctl
	for _, e := range entries {
		one := "ipv6/conf/" + e.Name() + "/forwarding"
		if one != forwardAll6 && readSysctl(one) == "1" {
			out = append(out, Sysctl{Name: one, Previous: "1", Set: "1"})
		}
	}
	return out
}

// isForwarding6 reports whether enabledForwarding6 may return a setting.
func isForwarding6(name string) bool {
	return strings.HasPrefix(name, "ipv6/conf/") && strings.HasSuffix(name, "/forwarding")
}

// merge adds changed settings to old ones. Of two entries for one setting, the
// older keeps its previous value.
func merge(old, changed []Sysctl) []Sysctl {
	names := map[string]bool{}
	for _, o := range old {
		names[o.Name] = true
	}
	for _, c := range changed {
		if !names[c.Name] {
			names[c.Name] = true
			old = append(old, c)
		}
	}
	return old
}

// notForwarded returns the setting by which the kernel does not forward what comes in by an
// interface; it is empty if it does.
func notForwarded(iface string, v6 bool) string {
	name := "ipv4/conf/" + iface + "/forwarding"
	if v6 {
		name = forwardAll6
	}
	if readSysctl(name) == "1" || v6 && readSysctl("ipv6/conf/"+iface+"/force_forwarding") == "1" {
		return ""
	}
	return "net." + strings.ReplaceAll(name, "/", ".")
}
