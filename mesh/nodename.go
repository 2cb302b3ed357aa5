package mesh

import (
	"fmt"
	"strings"
)

// Nodename converts a hostname to a Kubernetes node name, as Talos does: lower
// case, "_" becomes "-", and every other character outside [a-z0-9.-] is dropped,
// as are leading and trailing "-" and ".".
func Nodename(hostname string) (string, error) {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		case r == '_':
			return '-'
		}
		return -1
	}, strings.ToLower(hostname))
	if name = strings.Trim(name, "-."); name == "" {
		return "", fmt.Errorf("nodename from hostname %q: no usable character", hostname)
	}
	return name, nil
}

// DerivedHostname returns what a node is called whose machine has no name. It stays the same
// as long as the node id does.
func DerivedHostname(nodeID string) string {
	const digits = 8
	return "wirespan-" + strings.ToLower(nodeID[:min(len(nodeID), digits)])
}
