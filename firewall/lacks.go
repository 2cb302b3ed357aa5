package firewall

import (
	"errors"
	"fmt"
	"slices"
)

// Feature is a part of the kernel that a ruleset may need, and a kernel may lack.
type Feature string

// Features.
const (
	FeatureNftables   Feature = "nftables"   // tables of family inet, sets of intervals
	FeatureReroute    Feature = "reroute"    // chains of type route
	FeatureCounter    Feature = "counter"    // counters of packets
	FeatureConntrack  Feature = "conntrack"  // matches by the state of connections
	FeatureConnmark   Feature = "connmark"   // marks of connections
	FeatureMasquerade Feature = "masquerade" // address translation
	FeatureTCPOption  Feature = "tcpoption"  // changes of TCP options
	FeatureRules4     Feature = "rules4"     // IPv4 policy routing
	FeatureRules6     Feature = "rules6"     // IPv6 policy routing
)

// Lacks lists what the kernel lacks. The zero value lacks nothing.
type Lacks []Feature

// Has reports whether f is lacking. Without nftables, everything in a table is.
func (l Lacks) Has(f Feature) bool {
	return slices.Contains(l, f) || f != FeatureNftables && !f.ofRouting() && slices.Contains(l, FeatureNftables)
}

func (f Feature) ofRouting() bool { return f == FeatureRules4 || f == FeatureRules6 }

func rulesOf(v6 bool) Feature {
	if v6 {
		return FeatureRules6
	}
	return FeatureRules4
}

// Needs returns the features that the policy uses on a kernel that has them all.
func (p Policy) Needs() []Feature {
	out := []Feature{FeatureRules4, FeatureRules6, FeatureNftables, FeatureReroute, FeatureCounter, FeatureTCPOption}
	p.Lacks = nil
	if p.tracked() || p.Ingress.restricts() {
		out = append(out, FeatureConntrack)
	}
	if p.tracked() {
		out = append(out, FeatureConnmark)
	}
	if len(p.Masquerade) > 0 {
		out = append(out, FeatureMasquerade)
	}
	return out
}

// ByMark reports whether packets for the mesh get a mark that leads them to the
// tunnel's table. If not, rules and routes lead them there by destination alone.
func (p *Policy) ByMark() bool { return !p.Lacks.Has(FeatureReroute) }

// ErrUnfiltered says that the kernel cannot enforce the ingress rules.
var ErrUnfiltered = errors.New("the ingress rules cannot be enforced")

// Enforceable returns an error that is [ErrUnfiltered] if the kernel lacks what the
// ingress rules need. Then no peer may be connected.
func (p *Policy) Enforceable() error {
	if !p.Ingress.restricts() || !p.Lacks.Has(FeatureConntrack) {
		return nil
	}
	missing := FeatureConntrack
	if p.Lacks.Has(FeatureNftables) {
		missing = FeatureNftables
	}
	return fmt.Errorf("%w: the kernel has no %s: %s, or remove the rules (ingress in WirespanConfig), or use --backend netstack, which filters by itself",
		ErrUnfiltered, partOf(missing), partOf(missing).remedy())
}
