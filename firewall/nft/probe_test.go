package nft

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// hidden makes a kernel look like one that refuses each message about one of some
// words: names of expressions and types of chains.
func (f *Firewall) hidden(words ...string) {
	f.table.send = func(b *netlink.Batch, how func(*netlink.Batch) error) error {
		i := 0
		for m := range b.Messages() {
			for _, word := range words {
				if bytes.Contains(m.Body, append([]byte(word), 0)) {
					return &netlink.BatchError{Index: i, Err: unix.ENOENT}
				}
			}
			i++
		}
		return how(b)
	}
}

// Words of messages by which a test hides a feature.
var words = map[firewall.Feature]string{
	firewall.FeatureReroute:    "route",
	firewall.FeatureCounter:    "counter",
	firewall.FeatureConntrack:  "ct",
	firewall.FeatureMasquerade: "masq",
	firewall.FeatureTCPOption:  "exthdr",
}

// fullPolicy returns a policy that needs every feature but ingress rules.
func fullPolicy() firewall.Policy {
	p := policy("10.1.0.0/16", "2001:db8:1::/48")
	p.Ingress = firewall.Ingress{}
	p.Forwarded = prefixes("10.9.0.0/16")
	p.Masquerade = p.Forwarded
	return p
}

func TestProbe(t *testing.T) {
	namespace(t)
	f := open(t)
	before, at := kernel(t), generation(t)
	p := policy()
	p.Masquerade = prefixes("10.9.0.0/16")
	if lacks, err := f.Probe(p.Needs()); err != nil || len(lacks) != 0 || len(f.probed) != 9 {
		t.Errorf("this kernel lacks %v of %d features, %v", lacks, len(f.probed), err)
	}
	if kernel(t) != before || generation(t) != at {
		t.Error("the probes have changed the kernel")
	}
}

// A policy is applied without what the kernel lacks, and nothing else of it is left out.
func TestApplyPolicyWithout(t *testing.T) {
	for feature, word := range words {
		t.Run(string(feature), func(t *testing.T) {
			namespace(t)
			tunnel(t, iface)
			f := open(t)
			f.hidden(word)
			p, err := f.ApplyPolicy(fullPolicy())
			if err != nil {
				t.Fatal(err)
			}
			wantLacks := firewall.Lacks{feature}
			if feature == firewall.FeatureConntrack {
				wantLacks = append(wantLacks, firewall.FeatureConnmark) // its probe uses the same expression
			}
			if !slices.Equal(p.Lacks, wantLacks) {
				t.Errorf("it lacks %v, want %v", p.Lacks, wantLacks)
			}
			want := firewall.Compile(p)
			expect(t, want)
			at := generation(t)
			if _, err := f.ApplyPolicy(fullPolicy()); err != nil || generation(t) != at {
				t.Errorf("the second time changes something: %v", err)
			}
			if err := f.Remove(want); err != nil || strings.Contains(kernel(t), "180") {
				t.Errorf("Remove left\n%s\n%v", kernel(t), err)
			}
		})
	}
}

// A module that goes later takes its feature along, and nothing else.
func TestApplyPolicyLoses(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	f := open(t)
	p := fullPolicy()
	got, err := f.ApplyPolicy(p)
	if err != nil || len(got.Lacks) != 0 {
		t.Fatal(got.Lacks, err)
	}
	f.hidden("counter")
	run(t, "nft", "delete", "table", "inet", "wirespan")
	got, err = f.ApplyPolicy(p)
	if err != nil || !slices.Equal(got.Lacks, firewall.Lacks{firewall.FeatureCounter}) {
		t.Fatal(got.Lacks, err)
	}
	if list := run(t, "nft", "list", "table", "inet", "wirespan"); strings.Contains(list, "counter") || !strings.Contains(list, "drop") {
		t.Error(list)
	}
}

// Without nftables packets find the mesh by destination, encrypted ones do not, and
// without the tunnel they are refused.
func TestApplyPolicyWithoutNftables(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	tunnel(t, "up0")
	run(t, "ip", "address", "add", "192.0.2.1/24", "dev", "up0")
	run(t, "ip", "route", "add", "default", "via", "192.0.2.2")
	before := kernel(t)
	f := open(t)
	f.table.nl.Close()
	f.table.nl = nil
	p, err := f.ApplyPolicy(fullPolicy())
	if err != nil || !slices.Equal(p.Lacks, firewall.Lacks{firewall.FeatureNftables}) {
		t.Fatal(p.Lacks, err)
	}
	for _, tc := range []struct{ args, want string }{
		{"10.1.2.3", "dev " + iface},
		{"10.1.2.3 mark 0x20", "dev up0"},
		{"198.51.100.1", "dev up0"},
		{"2001:db8:1::1", "dev " + iface},
		{"fd12:3456:789a:bc02::1", "dev " + iface},
	} {
		if got := routeTo(t, tc.args); !strings.Contains(got, tc.want) {
			t.Errorf("route to %s: %s, want %s", tc.args, got, tc.want)
		}
	}
	run(t, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.up0.rp_filter=1", "net.ipv4.conf.peer-up0.rp_filter=2")
	if got := StrictLinks(iface); !slices.Equal(got, []string{"up0"}) {
		t.Errorf("links with a strict check: %v", got)
	}
	const in = "192.0.2.1 from 10.1.2.3 iif up0"
	if got := routeTo(t, in); !strings.Contains(got, "RTNETLINK") {
		t.Errorf("what a peer's network sends by a link with a strict check: %s", got)
	}
	run(t, "sysctl", "-qw", "net.ipv4.conf.up0.rp_filter=2")
	if got := routeTo(t, in); !strings.Contains(got, "local") {
		t.Errorf("what a peer's network sends by a link with a loose check: %s", got)
	}
	if again, err := f.ApplyPolicy(fullPolicy()); err != nil || !slices.Equal(again.Lacks, p.Lacks) {
		t.Error(again.Lacks, err)
	}
	run(t, "ip", "link", "delete", iface)
	for _, to := range []string{"10.1.2.3", "2001:db8:1::1", "fd12:3456:789a:bc02::1"} {
		if got := routeTo(t, to); !strings.Contains(got, "unreachable") && !strings.Contains(got, "No route to host") {
			t.Errorf("without the tunnel the route to %s is %s", to, got)
		}
	}
	if err := f.Remove(firewall.Compile(p)); err != nil || strings.Contains(kernel(t), "unreachable") || strings.Contains(kernel(t), "180") {
		t.Errorf("Remove left\n%s\n%v; before\n%s", kernel(t), err, before)
	}
}

// Ingress rules that can't be enforced are an error, and nothing is applied.
func TestApplyPolicyUnfiltered(t *testing.T) {
	namespace(t)
	before := kernel(t)
	f := open(t)
	f.hidden("ct")
	if _, err := f.ApplyPolicy(policy("10.1.0.0/16")); !errors.Is(err, firewall.ErrUnfiltered) || !strings.Contains(err.Error(), "nft_ct") {
		t.Errorf("%v", err)
	}
	if got := kernel(t); got != before {
		t.Errorf("it has changed the kernel:\n%s", got)
	}
}

// Without IPv6 policy routing IPv6 networks are routed in main, and table 180, which
// is main there, gets no IPv6 route. IPv4 is as ever.
func TestApplyPolicyWithoutRules6(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	f := open(t)
	f.routing.listRules = func(v byte) ([]netlink.Rule, error) {
		if v == unix.AF_INET6 {
			return nil, unix.EAFNOSUPPORT
		}
		return f.routing.rt.Rules(v)
	}
	p, err := f.ApplyPolicy(fullPolicy())
	if err != nil || !slices.Equal(p.Lacks, firewall.Lacks{firewall.FeatureRules6}) {
		t.Fatal(p.Lacks, err)
	}
	if got := routeTo(t, "2001:db8:1::1"); !strings.Contains(got, "dev "+iface) {
		t.Error(got)
	}
	if got := routeTo(t, "10.1.2.3 mark 0x40"); !strings.Contains(got, "dev "+iface) {
		t.Error(got)
	}
	if six := run(t, "ip", "-6", "rule") + run(t, "ip", "-6", "route", "show", "table", "all"); strings.Contains(six, "180") {
		t.Error(six)
	}
	fewer := fullPolicy()
	fewer.Routed = prefixes("10.1.0.0/16")
	for _, p := range []firewall.Policy{fullPolicy(), fewer} {
		if _, err := f.ApplyPolicy(p); err != nil {
			t.Fatal(err)
		}
	}
	if got := run(t, "ip", "-6", "route"); strings.Contains(got, "2001:db8:1::") {
		t.Errorf("the network is no longer routed, but in main:\n%s", got)
	}
	if err := f.Remove(firewall.Compile(p)); err != nil || strings.Contains(kernel(t), "unreachable") {
		t.Errorf("Remove left\n%s\n%v", kernel(t), err)
	}
}
