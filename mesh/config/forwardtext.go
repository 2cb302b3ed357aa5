package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"github.com/wirespan/wirespan/firewall"
)

// splitColons splits at colons outside of brackets.
func splitColons(s string) (parts []string, err error) {
	start, inside := 0, false
	for i := range len(s) {
		switch {
		case s[i] == '[' && !inside:
			inside = true
		case s[i] == ']' && inside:
			inside = false
		case s[i] == '[' || s[i] == ']':
			return nil, errors.New("the brackets do not match")
		case s[i] == ':' && !inside:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	if inside {
		return nil, errors.New("the brackets do not match")
	}
	return append(parts, s[start:]), nil
}

// cutSocket cuts the path of a unix socket from the start of s, and the colon after it.
func cutSocket(s string) (path, rest string, isSocket bool, err error) {
	path, prefixed := strings.CutPrefix(s, "unix:")
	if !prefixed && !strings.HasPrefix(s, "/") {
		return "", s, false, nil
	}
	path, rest, _ = strings.Cut(path, ":")
	switch {
	case !strings.HasPrefix(path, "/"):
		return "", "", true, fmt.Errorf("%q is not an absolute path", clip(path))
	case path == "/" || strings.HasSuffix(path, "/"):
		return "", "", true, fmt.Errorf("%q is a directory", clip(path))
	case len(path) > maxSocketPath:
		return "", "", true, fmt.Errorf("the path is longer than %d bytes", maxSocketPath)
	case strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }):
		return "", "", true, errors.New("the path is not printable")
	}
	return path, rest, true, nil
}

// parsePorts reads PORT or PORT-PORT.
func parsePorts(s string) (r firewall.PortRange, err error) {
	first, last, isRange := strings.Cut(s, "-")
	if r.From, err = parsePositivePort(first); err != nil {
		return r, err
	}
	r.To = r.From
	if isRange {
		if r.To, err = parsePositivePort(last); err != nil {
			return r, err
		}
	}
	switch count := int(r.To) - int(r.From) + 1; {
	case count < 1:
		return r, fmt.Errorf("range %s ends before it starts", r)
	case count > maxForwardRange:
		return r, fmt.Errorf("range %s has more than %d ports", r, maxForwardRange)
	}
	return r, nil
}

func parsePositivePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%.20q is not a port number (1 to 65535)", s)
	}
	return uint16(n), nil
}

// parseBind reads an address to listen on. localhost is the default, zero.
func parseBind(s string) (netip.Addr, error) {
	switch s {
	case "localhost":
		return netip.Addr{}, nil
	case "*":
		return netip.IPv6Unspecified(), nil
	case "":
		return netip.Addr{}, errors.New("it is empty: write * for all addresses, or leave the colon out for loopback")
	}
	addr, err := netip.ParseAddr(unbracketed(s))
	switch {
	case err != nil || strings.Contains(s, ":") != strings.HasPrefix(s, "["):
		return netip.Addr{}, fmt.Errorf("%q is not an IP address, localhost or *", clip(s))
	case addr.Zone() != "" || addr.IsMulticast():
		return netip.Addr{}, fmt.Errorf("%q has a zone or is a multicast address", clip(s))
	}
	return addr.Unmap(), nil
}

// parseTargetHost reads a name or an IP address.
func parseTargetHost(s string) (string, error) {
	host := unbracketed(s)
	if host == "" {
		return "", errors.New("it has no host")
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case (err == nil && addr.Is6()) != (host != s):
		return "", fmt.Errorf("%q: brackets are for IPv6 addresses", clip(s))
	case err != nil:
		return host, checkName(host)
	case addr.Zone() != "" || addr.IsMulticast() || addr.Unmap().IsUnspecified():
		return "", fmt.Errorf("%q has a zone, or is no address of one host", clip(s))
	}
	return addr.Unmap().String(), nil
}

// parseAllowed reads a nodename, a node id, an IP address or a prefix.
func parseAllowed(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("it names no peer")
	case strings.Contains(s, "/"):
		prefix, err := netip.ParsePrefix(s)
		switch {
		case err != nil || prefix.Addr().Is4In6():
			return "", fmt.Errorf("%q is not a prefix", clip(s))
		case prefix != prefix.Masked():
			return "", fmt.Errorf("%s has bits set after its length: write %s", prefix, prefix.Masked())
		}
		return prefix.String(), nil
	}
	addr, err := netip.ParseAddr(unbracketed(s))
	switch {
	case err == nil && addr.Zone() != "":
		return "", fmt.Errorf("%q has a zone", clip(s))
	case err == nil:
		return addr.Unmap().String(), nil
	}
	return s, checkName(s)
}

// unbracketed takes the brackets off an IPv6 address.
func unbracketed(s string) string {
	if inside, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inside, "]") {
		return strings.TrimSuffix(inside, "]")
	}
	return s
}
