package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// splitHostPort reads "host", "host:port", ":port", an IP address, or an IPv6
// address in brackets with or without a port. A missing port is 0.
func splitHostPort(s string) (host string, port uint16, err error) {
	rest := ""
	switch {
	case strings.HasPrefix(s, "["):
		inside, after, found := strings.Cut(s[1:], "]")
		if addr, err := netip.ParseAddr(inside); !found || err != nil || addr.Is4() {
			return "", 0, errors.New("expected an IPv6 address in the brackets")
		}
		host, rest = inside, after
	case strings.Count(s, ":") > 1:
		host = s
	default:
		if i := strings.IndexByte(s, ':'); i >= 0 {
			host, rest = s[:i], s[i:]
		} else {
			host = s
		}
	}
	if err := checkHost(host); err != nil {
		return "", 0, err
	}
	if rest == "" {
		return host, 0, nil
	}
	if rest[0] != ':' {
		return "", 0, errors.New("unexpected text after the brackets")
	}
	port, err = parsePort(rest[1:])
	return host, port, err
}

// bracketed puts IPv6 addresses in brackets.
func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// joinHostPort is the inverse of splitHostPort.
func joinHostPort(host string, port uint16) string {
	return bracketed(host) + ":" + strconv.Itoa(int(port))
}

// parsePort reads a port number; 0 is valid.
func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%.20q is not a port number (0 to 65535)", s)
	}
	return uint16(n), nil
}

// checkHost accepts an IP address without a zone, a DNS name, or an empty string.
func checkHost(host string) error {
	if host == "" {
		return nil
	}
	if strings.Contains(host, ":") {
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return fmt.Errorf("%.100q is not a host", host)
		}
		if addr.Zone() != "" {
			return fmt.Errorf("%.100q has a zone, which means nothing on another host", host)
		}
		return nil
	}
	return checkName(host)
}

// checkName accepts a DNS name (RFC 1123, also with underscores) or an IPv4 address.
func checkName(name string) error {
	if len(name) > 253 {
		return errors.New("the name is longer than 253 characters")
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("%.100q is not a host name", name)
		}
		for _, c := range []byte(label) {
			if !isNameByte(c) {
				return fmt.Errorf("%.100q is not a host name", name)
			}
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}
