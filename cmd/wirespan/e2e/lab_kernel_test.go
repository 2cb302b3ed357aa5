package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

var counts = regexp.MustCompile(`counter packets \d+ bytes \d+`)

// kernel returns the state of the host that other programs could change: nftables,
// rules, routes and sysctls, without counters.
func (h *labHost) kernel() string {
	h.Helper()
	var b strings.Builder
	b.WriteString(counts.ReplaceAllString(h.mustExec("nft", "list", "ruleset"), "counter"))
	for _, family := range []string{"-4", "-6"} {
		b.WriteString(h.mustExec("ip", family, "rule"))
		routes := strings.Split(h.mustExec("ip", family, "route", "show", "table", "all"), "\n")
		sort.Strings(routes)
		b.WriteString(strings.Join(routes, "\n") + "\n")
	}
	var settings []string
	err := h.inside(func() error {
		for _, name := range []string{"ipv4/ip_forward", "ipv?/conf/*/forwarding", "ipv6/conf/*/force_forwarding", "ipv4/conf/*/rp_filter", "ipv4/conf/*/src_valid_mark"} {
			paths, _ := filepath.Glob("/proc/sys/net/" + name) // the pattern is valid
			for _, path := range paths {
				value, err := os.ReadFile(path)
				if errors.Is(err, fs.ErrNotExist) { // its link is renamed at this moment
					continue
				}
				if err != nil {
					return err
				}
				settings = append(settings, path+" = "+string(value))
			}
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	b.WriteString(strings.Join(settings, ""))
	return b.String()
}

// steadyKernel returns the state of the kernel once the kernel has stopped adding to it
// by itself: each Ethernet link with a carrier has a link-local address, and duplicate
// address detection has ended for all addresses. Until then addresses and their routes
// appear.
func (h *labHost) steadyKernel() string {
	h.Helper()
	eventually(h.T, within, func() error {
		out, err := h.exec("ip", "-j", "address", "show", "up")
		if err != nil {
			return err
		}
		var links []struct {
			Name      string   `json:"ifname"`
			Flags     []string `json:"flags"`
			Type      string   `json:"link_type"`
			Addresses []struct {
				Local     netip.Addr `json:"local"`
				Tentative bool       `json:"tentative"`
			} `json:"addr_info"`
		}
		if err := json.Unmarshal([]byte(out), &links); err != nil {
			return fmt.Errorf("addresses of %s: %w", h.name, err)
		}
		for _, l := range links {
			linkLocal := l.Type != "ether" || !slices.Contains(l.Flags, "LOWER_UP")
			for _, a := range l.Addresses {
				if a.Tentative {
					return fmt.Errorf("%s on %s of %s is tentative", a.Local, l.Name, h.name)
				}
				linkLocal = linkLocal || a.Local.Is6() && a.Local.IsLinkLocalUnicast()
			}
			if linkLocal {
				continue
			}
			if out, err := h.exec("cat", "/proc/sys/net/ipv6/conf/"+l.Name+"/disable_ipv6"); err != nil || strings.TrimSpace(out) == "0" {
				return errors.Join(fmt.Errorf("%s of %s has no link-local address yet", l.Name, h.name), err)
			}
		}
		return nil
	})
	return h.kernel()
}

// difference returns the lines that only one of two texts has.
func difference(before, after string) string {
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[line]--
	}
	for line := range strings.Lines(after) {
		count[line]++
	}
	var out []string
	for line, n := range count {
		switch {
		case n < 0:
			out = append(out, "- "+line)
		case n > 0:
			out = append(out, "+ "+line)
		}
	}
	sort.Strings(out)
	return strings.Join(out, "")
}

// untouched waits until the state of the host's kernel is as before.
func (h *labHost) untouched(before string) {
	h.Helper()
	eventually(h.T, within, func() error {
		if d := difference(before, h.kernel()); d != "" {
			return fmt.Errorf("the kernel of %s is not as before:\n%s", h.name, d)
		}
		return nil
	})
}

// routesTo returns the output of ip route get for an address, or the error.
func (h *labHost) routesTo(a netip.Addr, how ...string) string {
	h.Helper()
	out, err := h.exec(append([]string{"ip", "route", "get", a.String()}, how...)...)
	if err != nil {
		out += err.Error()
	}
	return out
}

// closed checks that the host sends no packet to the mesh address of a running node or
// to networks of a site.
func (h *labHost) closed(ula netip.Addr, networks ...netip.Addr) {
	h.Helper()
	if err := h.refused(ula); !errors.Is(err, unix.EHOSTUNREACH) {
		h.Errorf("%s to a mesh address: %v, want %v", h.name, err, unix.EHOSTUNREACH)
	}
	if out := h.routesTo(ula); !strings.Contains(out, "No route to host") && !strings.Contains(out, "unreachable") {
		h.Errorf("%s has a route to a mesh address: %s", h.name, out)
	}
	for _, a := range networks {
		h.Logf("%s to %s: %v", h.name, a, h.refused(a))
		if out := h.routesTo(a, "mark", "0x40"); !strings.Contains(out, "No route to host") && !strings.Contains(out, "unreachable") {
			h.Errorf("%s has a route to %s: %s", h.name, a, out)
		}
	}
}

// wipe removes what an agent applied to the kernel, as a reboot would.
func (n *labNode) wipe() {
	n.Helper()
	n.mustExec("sh", "-c", "nft flush ruleset; ip rule del pref 32500; ip -6 rule del pref 32500; ip route flush table 180; ip -6 route flush table 180; ip -6 route flush type unreachable")
}
