package proxied

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// For returns the proxy for addr, or nil for a direct connection, as the environment
// variables HTTPS_PROXY, ALL_PROXY and NO_PROXY say, the lower case ones first. They have
// the meaning that they have in Go's net/http. Loopback addresses are always dialled
// directly.
func For(addr string) (*url.URL, error) {
	value := cmp.Or(environment("HTTPS_PROXY"), environment("ALL_PROXY"))
	if value == "" || excepted(addr, environment("NO_PROXY")) {
		return nil, nil
	}
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	if via, err := url.Parse(value); err == nil && via.Scheme != "" && via.Host != "" {
		return via, nil
	}
	// The text of that error may contain a password.
	return nil, errors.New("proxy environment variable is not a URL")
}

func environment(name string) string {
	return cmp.Or(os.Getenv(strings.ToLower(name)), os.Getenv(name))
}

// excepted reports whether addr is dialled directly: it is on loopback, or in the list of
// NO_PROXY. Entries that make no sense are ignored.
func excepted(addr, list string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false // the dialer says what is wrong with it
	}
	host = strings.ToLower(strings.TrimSpace(host))
	ip, _ := netip.ParseAddr(host)
	ip = ip.Unmap().WithZone("")
	if host == "localhost" || ip.IsLoopback() {
		return true
	}
	for entry := range strings.SplitSeq(list, ",") {
		if exceptedBy(strings.ToLower(strings.TrimSpace(entry)), host, port, ip) {
			return true
		}
	}
	return false
}

// exceptedBy reports whether an entry of NO_PROXY is for a host: its address, a network
// with it, its name or a domain above, each with a port or without, or "*". With a dot
// before it, a domain is for the names in it only.
func exceptedBy(entry, host, port string, ip netip.Addr) bool {
	if entry == "*" {
		return true
	}
	if _, network, err := net.ParseCIDR(entry); err == nil {
		return ip.IsValid() && network.Contains(ip.AsSlice())
	}
	name, only, err := net.SplitHostPort(entry)
	if err != nil {
		name, only = entry, ""
	}
	if name == "" || only != "" && only != port {
		return false
	}
	if known, err := netip.ParseAddr(name); err == nil || ip.IsValid() {
		return ip.IsValid() && known.Unmap() == ip
	}
	if strings.HasPrefix(name, "*.") {
		name = name[1:]
	}
	if host == name {
		return true
	}
	return strings.HasSuffix(host, "."+strings.TrimPrefix(name, "."))
}
