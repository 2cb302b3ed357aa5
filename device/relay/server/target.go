package server

import "net/netip"

// reserved is what no packet is relayed to: addresses that are private, local, special, or stand
// for an IPv4 address that may be.
var reserved = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "224.0.0.0/3",
	"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2002::/16", "fc00::/7", "fe80::/9", "ff00::/8",
)

// never is what no setting can allow.
var never = prefixes("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/96", "fe80::/10", "ff00::/8")

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// allowsAddress reports whether anything at an address may be reached.
func (s *Server) allowsAddress(a netip.Addr) bool {
	a = a.Unmap()
	switch {
	case !a.IsValid() || a.Zone() != "" || contains(never, a):
		return false
	case s.own(a):
		return true
	}
	return !contains(reserved, a) || contains(s.cfg.Private, a)
}

// allowsPort reports whether a port may be reached at an address that may. On this host those
// are the WireGuard port and live allocations.
func (s *Server) allowsPort(p netip.AddrPort) bool {
	if p.Port() == 0 {
		return false
	}
	if !s.own(p.Addr()) {
		return true
	}
	if p.Port() == s.cfg.WireGuardPort() {
		return true
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.live[p] != nil
}

func (s *Server) own(a netip.Addr) bool {
	return a == s.cfg.Public4 || a == s.cfg.Public6 || s.cfg.Own(a)
}
