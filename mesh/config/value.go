package config

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

const (
	maxSocketPath = 107 // the kernel's sun_path without the final zero byte
	maxFilter     = 64  // the longest CIDR has 50 characters
)

func parseBool(s string) (bool, error) {
	v, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%.100q is not true or false", s)
	}
	return v, nil
}

// parseOptionalBool reads the value of a boolean that may be unset.
func parseOptionalBool(s string) (*bool, error) {
	v, err := parseBool(s)
	return &v, err
}

// parseSize reads a positive number of bytes, with or without a unit.
func parseSize(s string) (int64, error) {
	digits, shift := s, 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			digits, shift = strings.TrimRight(rest, " "), 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63-shift)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%.100q is not a size such as 64MiB (bytes, KiB, MiB or GiB)", s)
	}
	return int64(n) << shift, nil
}

// parseDuration reads a duration that is not negative, as Go and Talos write it.
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%.100q is not a duration such as 90s, 12h or 0", s)
	}
	return d, nil
}

// shortestRotation leaves time for all nodes to prepare for a key.
const shortestRotation = 10 * time.Second

// parseRotation reads the duration for which a key is used.
func parseRotation(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d != 0 && d < shortestRotation {
		err = fmt.Errorf("%v is too short: at least %v, or 0 for never", d, shortestRotation)
	}
	return d, err
}

// parseNumber reads a whole number of at most 32 bits, decimal or hexadecimal.
func parseNumber[T int | uint32](s string) (T, error) {
	digits, base := s, 10
	if rest, isHex := strings.CutPrefix(s, "0x"); isHex {
		digits, base = rest, 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		return 0, fmt.Errorf("%.100q is not a whole number from 0 to %d, decimal or with 0x", s, uint32(math.MaxUint32))
	}
	return T(n), nil
}

// parseTableName takes any text; [firewall.Numbers.Check] checks it.
func parseTableName(s string) (string, error) { return s, nil }

// oneOf reads one of a few words.
func oneOf[T ~string](values ...T) func(string) (T, error) {
	return func(s string) (T, error) {
		names := make([]string, len(values))
		for i, v := range values {
			if s == string(v) {
				return v, nil
			}
			names[i] = string(v)
		}
		return "", fmt.Errorf("%.100q is not one of %s", s, strings.Join(names, ", "))
	}
}

func parseInterfaceName(s string) (string, error) { return s, mesh.CheckInterfaceName(s) }

func parsePath(s string) (string, error) {
	if s == "" || strings.ContainsRune(s, 0) {
		return "", fmt.Errorf("%.100q is not a path", s)
	}
	return s, nil
}

// parseStateDir reads a directory: PATH, memory or memory:PATH.
func parseStateDir(s string) (string, error) {
	if dir, ok := strings.CutPrefix(s, StateMemory+":"); ok && !strings.HasPrefix(dir, "/") {
		return "", fmt.Errorf("%.100q: after \"%s:\" comes an absolute path", s, StateMemory)
	}
	return parsePath(s)
}

func parseSocketPath(s string) (string, error) {
	if len(s) > maxSocketPath {
		return "", fmt.Errorf("the path has %d bytes, but a unix socket allows at most %d", len(s), maxSocketPath)
	}
	return parsePath(s)
}

// parseMAC reads a unicast hardware address: 6 or 8 bytes in hex, with colons.
func parseMAC(s string) ([]byte, error) {
	invalid := fmt.Errorf("%.100q is not a hardware address of 6 or 8 bytes", s)
	if n := len(s); n != 6*3-1 && n != 8*3-1 {
		return nil, invalid
	}
	var mac []byte
	zero := true
	for part := range strings.SplitSeq(s, ":") {
		b, err := hex.DecodeString(part)
		if err != nil || len(b) != 1 {
			return nil, invalid
		}
		mac = append(mac, b[0])
		zero = zero && b[0] == 0
	}
	if zero || mac[0]&1 != 0 {
		return nil, fmt.Errorf("%q is a zero or multicast address", s)
	}
	return mac, nil
}

// parseNodename accepts a Kubernetes node name.
func parseNodename(s string) (string, error) {
	if name, err := mesh.Nodename(s); err != nil || name != s {
		return "", fmt.Errorf("%.100q is not a node name (lower-case letters, digits, - and .)", s)
	}
	return s, checkName(s)
}

func parseHostname(s string) (string, error) {
	if s == "" {
		return "", errors.New("the name is empty")
	}
	return s, checkName(s)
}

// parseListen reads host:port. Without a host it means all addresses.
func parseListen(s string) (string, error) {
	if !strings.Contains(s, ":") {
		return "", fmt.Errorf("%.100q is not host:port", s)
	}
	host, port, err := splitHostPort(s)
	if err != nil {
		return "", err
	}
	if strings.HasSuffix(s, "]") || strings.Count(host, ":") > 0 && s[0] != '[' {
		return "", fmt.Errorf("%.100q has no port", s)
	}
	return joinHostPort(host, port), nil
}

// parseAdvertised reads host or host:port. Without a port that of the server is
// meant.
func parseAdvertised(s string) (string, error) {
	host, port, err := splitHostPort(s)
	switch {
	case err != nil:
		return "", err
	case host == "":
		return "", fmt.Errorf("%.100q has no host", s)
	case port == 0:
		return host, nil
	}
	return joinHostPort(host, port), nil
}

// defaultSTUNPort is that of RFC 8489.
const defaultSTUNPort = 3478

// ParseSTUNServer reads "host" or "host:port". Without a port it adds that of RFC 8489.
func ParseSTUNServer(s string) (string, error) {
	host, port, err := splitHostPort(s)
	switch {
	case err != nil:
		return "", err
	case host == "":
		return "", fmt.Errorf("%.100q has no host", s)
	}
	return joinHostPort(host, cmp.Or(port, defaultSTUNPort)), nil
}

// parseFilter and parseAddressFilter limit the text because the parsers quote it.
func parseFilter(s string) (mesh.Filter, error) {
	if len(s) > maxFilter {
		return mesh.Filter{}, fmt.Errorf("filter %.100q is too long", s)
	}
	return mesh.ParseFilter(s)
}

func parseAddressFilter(s string) (mesh.AddressFilter, error) {
	if len(s) > maxFilter {
		return mesh.AddressFilter{}, fmt.Errorf("address filter %.100q is too long", s)
	}
	return mesh.ParseAddressFilter(s)
}
