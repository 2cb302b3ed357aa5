package nft

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// ForwardingSpec says between what the kernel shall forward.
type ForwardingSpec struct {
	Interface string         // of the tunnel
	Networks  []netip.Prefix // behind this node; none: do not forward
}

// SetForwarding makes the kernel forward between the tunnel and the interfaces
// that lead to the networks, and nowhere else if it can do that (for IPv6 from
// Linux 6.17 on). It gets the settings that earlier calls changed, also in
// another process, and returns those that are changed now, for the caller to
// keep and to give to the next call or to Restore; also together with an error.
// What is not wanted any more is restored.
func (f *Firewall) SetForwarding(want ForwardingSpec, before []Sysctl) ([]Sysctl, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted, err := f.forwarding(want)
	if err != nil {
		return before, err
	}
	var keep, drop []Sysctl
	for _, s := range before {
		if slices.Contains(wanted, s.Name) || isPart(s.Name) && slices.Contains(wanted, forwardAll6) {
			keep = append(keep, s)
		} else {
			drop = append(drop, s)
		}
	}
	errs := []error{f.restore(drop)}
	for _, name := range wanted {
		old := readSysctl(name)
		if old == "1" {
			continue
		}
		if name == forwardAll6 {
			if err := f.keepsRouters(); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		parts := forwardingParts(name)
		switch err := f.route.writeSysctl(name, "1"); {
		case errors.Is(err, fs.ErrNotExist): // the interface went meanwhile
		case err != nil:
			errs = append(errs, fmt.Errorf("enable forwarding (net/%s): %w", name, err))
		default:
			keep = merge(keep, append([]Sysctl{{Name: name, Previous: old, Set: "1"}}, parts...))
		}
	}
	return keep, errors.Join(errs...)
}

// Restore undoes what SetForwarding changed, unless somebody else changed it since.
func (f *Firewall) Restore(changed []Sysctl) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.restore(changed)
}

func (f *Firewall) restore(changed []Sysctl) error {
	var still []Sysctl
	for _, s := range changed { // before any is written: one of them changes others
		if readSysctl(s.Name) == s.Set {
			still = append(still, s)
		}
	}
	var errs []error
	for _, s := range still {
		if err := f.route.writeSysctl(s.Name, s.Previous); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("restore net/%s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}

const forwardAll6 = "ipv6/conf/all/forwarding"

// forwarding are the settings that have to be 1.
func (f *Firewall) forwarding(want ForwardingSpec) ([]string, error) {
	var out []string
	add := func(name string) {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	_, err := os.Stat("/proc/sys/net/ipv6/conf/all/force_forwarding")
	single := err == nil
	for _, n := range want.Networks {
		v6 := n.Addr().Is6()
		if !f.has(v6) {
			continue
		}
		links, err := f.leading(n)
		if err != nil {
			return nil, err
		}
		sort.Strings(links)
		for _, name := range append([]string{want.Interface}, links...) {
			switch {
			case !v6:
				add("ipv4/conf/" + name + "/forwarding")
			case single:
				add("ipv6/conf/" + name + "/force_forwarding")
			default:
				add(forwardAll6)
			}
		}
	}
	return out, nil
}

// forwardingParts are the settings that a change of all for IPv6 overwrites,
// and that going back would set to 0.
func forwardingParts(name string) []Sysctl {
	if name != forwardAll6 {
		return nil
	}
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

// isPart reports whether a setting is one that forwardingParts notes.
func isPart(name string) bool {
	return strings.HasPrefix(name, "ipv6/conf/") && strings.HasSuffix(name, "/forwarding")
}

// merge keeps the oldest previous value of each setting.
func merge(old, changed []Sysctl) []Sysctl {
	for _, s := range changed {
		if !slices.ContainsFunc(old, func(o Sysctl) bool { return o.Name == s.Name }) {
			old = append(old, s)
		}
	}
	return old
}

// keepsRouters refuses to make a router of a node that learns its own default
// route from routers' advertisements: it would not listen to them any more.
func (f *Firewall) keepsRouters() error {
	routes, err := f.route.routes(unix.AF_INET6, firewall.RouteMain, unix.RTN_UNICAST)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.dst.Bits() != 0 || r.protocol != unix.RTPROT_RA {
			continue
		}
		name, err := f.route.linkName(r.oif)
		if err != nil {
			return err
		}
		if readSysctl("ipv6/conf/"+name+"/accept_ra") == "1" {
			return fmt.Errorf("enable IPv6 forwarding: interface %s would lose its default route, which it has from router advertisements: run sysctl -w net.ipv6.conf.%s.accept_ra=2 first", name, name)
		}
	}
	return nil
}
