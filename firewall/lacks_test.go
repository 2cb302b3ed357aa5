package firewall_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	. "github.com/wirespan/wirespan/firewall"
)

// traces are words of a ruleset's text that only a feature explains.
var traces = map[Feature]string{
	FeatureNftables: "chain ", FeatureReroute: "type route", FeatureCounter: "counter", FeatureConntrack: "ct ", FeatureConnmark: "ct mark",
	FeatureMasquerade: "masquerade", FeatureTCPOption: "maxseg", FeatureRules4: "# ip rule", FeatureRules6: "# ip -6 rule",
}

// TestWithout checks for every set of lacking features that the ruleset does without
// them, refers to nothing that it has not, refuses what it cannot filter, and that a
// loss is reported for what the policy needs and for nothing else.
func TestWithout(t *testing.T) {
	features := []Feature{
		FeatureNftables, FeatureReroute, FeatureCounter, FeatureConntrack, FeatureConnmark,
		FeatureMasquerade, FeatureTCPOption, FeatureRules4, FeatureRules6,
	}
	policies := goldenPolicies(t)
	policies["explain"] = explainPolicy()
	for name, p := range policies {
		for set := range 1 << len(features) {
			p.Lacks = nil
			for i, f := range features {
				if set&(1<<i) != 0 {
					p.Lacks = append(p.Lacks, f)
				}
			}
			rs := Compile(p)
			text := rs.String()
			for _, f := range p.Lacks {
				if strings.Contains(text, traces[f]) {
					t.Fatalf("%s without %v has %q\n%s", name, p.Lacks, traces[f], text)
				}
			}
			checkReferences(t, rs)
			filters := strings.Contains(text, `"wirespan0" jump ingress`)
			if err := p.Enforceable(); err == nil && NewMatcher(p.Ingress).Restricts() && !filters || err != nil && !errors.Is(err, ErrUnfiltered) {
				t.Fatalf("%s without %v filters: %v, %v", name, p.Lacks, filters, err)
			}
			for _, r := range rs.Routes {
				six := r.Destination.Addr().Is6()
				if r.Table != RouteMain && p.Lacks.Has(map[bool]Feature{false: FeatureRules4, true: FeatureRules6}[six]) {
					t.Fatalf("%s without %v has %v: the kernel would put it into main", name, p.Lacks, r)
				}
				if r.Table == RouteMain && r.Destination.Bits() == 0 {
					t.Fatalf("%s without %v has a default route in main", name, p.Lacks)
				}
			}
			if t.Failed() {
				t.Fatalf("%s without %v", name, p.Lacks)
			}
		}
	}
}

func TestLosses(t *testing.T) {
	p := explainPolicy()
	p.Lacks = Lacks{FeatureNftables, FeatureMasquerade, FeatureRules6}
	var got []string
	for _, l := range p.Losses() {
		got = append(got, string(l.Feature))
		if !strings.Contains(l.Message, "CONFIG_") || strings.Contains(l.Message, ": ;") {
			t.Error(l.Message)
		}
		if l.Feature == FeatureNftables && !(strings.Contains(l.Message, "kmod-nft-core") && strings.Contains(l.Message, "neighbours") && strings.Contains(l.Message, "see mesh addresses")) {
			t.Error(l.Message)
		}
	}
	if s := strings.Join(got, " "); s != "rules6 nftables" {
		t.Errorf("losses of %s", s)
	}
	p.Lacks = Lacks{FeatureConntrack, FeatureConnmark}
	if l := p.Losses(); len(l) != 1 || l[0].Feature != FeatureConntrack {
		t.Errorf("losses without connection tracking: %v", l)
	}
	p = testPolicy()
	p.Lacks = Lacks{FeatureConntrack, FeatureMasquerade}
	if l := p.Losses(); l != nil {
		t.Errorf("what the policy does not need is lost: %v", l)
	}
}

// Without marks a packet is explained by its destination.
func TestExplainWithout(t *testing.T) {
	p := explainPolicy()
	p.Ingress = Ingress{}
	for _, tt := range []struct {
		lacks Lacks
		to    string
		where string
		path  Path
	}{
		{Lacks{FeatureNftables}, "10.1.2.3", "table 180", PathTunnel},
		{Lacks{FeatureNftables}, "10.2.2.3", "table 180", PathBypass},
		{Lacks{FeatureRules4}, "10.1.2.3", "table main", PathTunnel},
		{Lacks{FeatureRules6}, "10.1.2.3", "outgoing", PathTunnel},
	} {
		p.Lacks = tt.lacks
		v := p.Explain(Query{Destination: addrs(tt.to)[0]})
		if v.Path != tt.path || v.Reasons[0].Where != tt.where {
			t.Errorf("without %v %s: %+v", tt.lacks, tt.to, v)
		}
	}
}

// checkReferences fails if a rule names a set or a chain that the ruleset has not.
func checkReferences(t *testing.T, rs Ruleset) {
	t.Helper()
	checkSets(t, rs)
	for _, ch := range rs.Chains {
		for _, r := range ch.Rules {
			for _, e := range r {
				if j, ok := e.(Jump); ok && !slices.ContainsFunc(rs.Chains, func(c Chain) bool { return c.Name == j.Chain }) {
					t.Errorf("no chain for %v", j)
				}
			}
		}
	}
}
