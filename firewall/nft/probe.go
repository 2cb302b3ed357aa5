package nft

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// ApplyPolicy applies the ruleset of a policy, as far as the kernel can, and returns
// the policy with what the kernel lacks. A feature that is refused though a probe
// found it, because its module is gone, is probed again.
func (f *Firewall) ApplyPolicy(p firewall.Policy) (firewall.Policy, error) {
	for again := false; ; again = true {
		lacks, err := f.Probe(p.Needs())
		if err != nil {
			return p, err
		}
		p.Lacks = lacks
		if err := p.Enforceable(); err != nil {
			return p, err
		}
		err = f.Apply(firewall.Compile(p))
		if err == nil || again || !isMissing(err) {
			return p, err
		}
		f.mu.Lock()
		f.probed = nil
		f.mu.Unlock()
	}
}

// Probe returns what the kernel lacks of some features. It asks for each once, and
// changes nothing. Modules of features that are not asked for are not loaded.
func (f *Firewall) Probe(needs []firewall.Feature) (firewall.Lacks, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lacks firewall.Lacks
	for _, feature := range needs {
		if lacks.Has(feature) { // no nftables: nothing in a table
			continue
		}
		there, known := f.probed[feature]
		if !known {
			err := f.probe(feature)
			if err != nil && !isMissing(err) {
				return nil, fmt.Errorf("ask whether the kernel has %s: %w", feature, withAdvice(err))
			}
			if f.probed == nil {
				f.probed = map[firewall.Feature]bool{}
			}
			there = err == nil
			f.probed[feature] = there
		}
		if !there {
			lacks = append(lacks, feature)
		}
	}
	return lacks, nil
}

// probe returns an error that isMissing if the kernel lacks a feature.
func (f *Firewall) probe(feature firewall.Feature) error {
	v6 := feature == firewall.FeatureRules6
	if v6 || feature == firewall.FeatureRules4 {
		if !f.routing.supports(v6) { // nothing of this IP version is routed
			return nil
		}
		_, err := f.routing.listRules(family(v6))
		return err
	}
	rs := probeRuleset(feature)
	return f.table.transact(func(generation uint32) error {
		tx := f.table.begin(generation)
		if err := tx.replaceTable(&rs, false); err != nil {
			return err
		}
		return f.table.send(tx.Batch, (*netlink.Batch).Check)
	})
}

// probeRuleset returns a ruleset that needs a feature, and no other but nftables.
func probeRuleset(feature firewall.Feature) firewall.Ruleset {
	chain := firewall.Chain{Name: "probe", Type: firewall.TypeFilter, Hook: firewall.HookPostrouting}
	set := firewall.Set{Name: "probed", Elements: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	var rule firewall.Rule
	switch feature {
	case firewall.FeatureNftables:
		rule = firewall.Rule{firewall.InSet{Set: set.Name}}
	case firewall.FeatureReroute:
		chain.Type, chain.Hook = firewall.TypeRoute, firewall.HookOutput
	case firewall.FeatureCounter:
		rule = firewall.Rule{firewall.Counter{}}
	case firewall.FeatureConntrack:
		rule = firewall.Rule{firewall.StateIs{}, firewall.Direction{}}
	case firewall.FeatureConnmark:
		rule = firewall.Rule{firewall.MarkIs{CT: true}, firewall.SetMark{CT: true}}
	case firewall.FeatureMasquerade:
		chain.Type, chain.Priority = firewall.TypeNAT, firewall.PrioritySrcNAT
		rule = firewall.Rule{firewall.Masquerade{}}
	case firewall.FeatureTCPOption:
		rule = firewall.Rule{firewall.ClampMSS{Size: 1280}}
	}
	if rule != nil {
		chain.Rules = []firewall.Rule{rule}
	}
	return firewall.Ruleset{Table: "wirespan_probe", Sets: []firewall.Set{set}, Chains: []firewall.Chain{chain}}
}

// isMissing reports whether an error of the kernel says that it lacks what was asked
// for. Old kernels call an operation that they do not know invalid.
func isMissing(err error) bool {
	for _, missing := range []error{errNoNftables, unix.ENOENT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.EINVAL} {
		if errors.Is(err, missing) {
			return true
		}
	}
	return false
}
