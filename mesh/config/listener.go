package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// loopbackName stands for the loopback addresses of both IP versions.
const loopbackName = "localhost"

// Listener is where a service for programs of this host listens. The zero Listener is none.
type Listener struct {
	Network string // tcp or unix
	Address string // ADDRESS:PORT or localhost:PORT, or a path
}

func (l Listener) String() string { return l.Address }

// Addresses returns what to listen on: both loopback addresses for localhost.
func (l Listener) Addresses() []string {
	if port, ok := strings.CutPrefix(l.Address, loopbackName+":"); ok && l.Network == "tcp" {
		return []string{"127.0.0.1:" + port, "[::1]:" + port}
	}
	return []string{l.Address}
}

// Private reports whether no other host reaches the listener.
func (l Listener) Private() bool {
	if l.Network == "unix" || strings.HasPrefix(l.Address, loopbackName+":") {
		return true
	}
	at, err := netip.ParseAddrPort(l.Address)
	return err == nil && at.Addr().IsLoopback()
}

// ParseListener reads "PORT", "ADDRESS:PORT", a path that begins with "/", or "unix:PATH".
func ParseListener(s string) (Listener, error) {
	path, unix := strings.CutPrefix(s, "unix:")
	if !unix && !strings.HasPrefix(s, "/") {
		return parseTCPListener(s)
	}
	path, err := parseSocketPath(path)
	if err == nil && !strings.HasPrefix(path, "/") {
		err = fmt.Errorf("%.100q: the path of a socket begins with /", s)
	}
	return Listener{"unix", path}, err
}

// parseTCPListener reads "PORT", "localhost:PORT" or "ADDRESS:PORT".
func parseTCPListener(s string) (Listener, error) {
	invalid := fmt.Errorf("%.100q is not PORT or ADDRESS:PORT (ADDRESS is an IP address; 0.0.0.0 and [::] mean all)", s)
	port, local := strings.CutPrefix(s, loopbackName+":")
	if local || !strings.Contains(s, ":") {
		if _, err := parsePositivePort(port); err != nil {
			return Listener{}, invalid
		}
		return Listener{"tcp", loopbackName + ":" + port}, nil
	}
	at, err := netip.ParseAddrPort(s)
	if err != nil || at.Port() == 0 || at.Addr().Zone() != "" {
		return Listener{}, invalid
	}
	return Listener{"tcp", netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String()}, nil
}

// parseUpstream reads the address of a DNS server.
func parseUpstream(s string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.AddrPortFrom(addr.Unmap(), 53), nil
	}
	at, err := netip.ParseAddrPort(s)
	if err != nil || at.Port() == 0 || at.Addr().Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%.100q is not the address of a DNS server (ADDRESS or ADDRESS:PORT)", s)
	}
	return at, nil
}

// parseSocketMode reads an octal mode that leaves its owner read and write permission.
func parseSocketMode(s string) (uint32, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 16)
	if err != nil || n&^0o666 != 0 || n&0o600 != 0o600 {
		return 0, fmt.Errorf("%.20q is not the mode of a socket, such as 0600, 0660 or 0666", s)
	}
	return uint32(n), nil
}

func parseGroup(s string) (string, error) {
	if s == "" || len(s) > 64 || strings.ContainsAny(s, "\x00:/\n") {
		return "", fmt.Errorf("%.100q is not a group", s)
	}
	return s, nil
}

// parseUser reads a user name as RFC 1929 and RFC 7617 allow it.
func parseUser(s string) (string, error) {
	if s == "" || len(s) > 255 || strings.ContainsFunc(s, func(r rune) bool { return r == ':' || r < ' ' || r == 0x7f }) {
		return "", errors.New("a user name has 1 to 255 bytes, and no colon or control character")
	}
	return s, nil
}

// parseDomain reads a domain without dots at its ends, in lower case.
func parseDomain(s string) (string, error) {
	name := strings.ToLower(strings.Trim(s, "."))
	if name == "" || len(name) > 100 {
		return "", fmt.Errorf("%.100q is not a domain", s)
	}
	return name, checkName(name)
}

const maxLimit = 1 << 20

func parseLimit(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxLimit {
		return 0, fmt.Errorf("%.20q is not a number from 1 to %d", s, maxLimit)
	}
	return n, nil
}
