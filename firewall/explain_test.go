package firewall_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	. "github.com/wirespan/wirespan/firewall"
)

// explainPolicy returns the policy of a gateway with a site behind it.
func explainPolicy() Policy {
	p := testPolicy()
	p.Routed = prefixes("10.1.0.0/16 192.0.2.7/32 2001:db8:1::/48")
	p.Masquerade = prefixes("10.9.0.0/16")
	p.Ingress = Ingress{Default: ActionBlock, Rules: []IngressRule{
		{Name: "ssh", Protocol: ProtocolTCP, Ports: []PortRange{{22, 22}}, Sources: prefixes("10.1.0.0/16 192.0.2.7/32")},
	}}
	return p
}

func TestExplain(t *testing.T) {
	peers := owners("10.1.0.0/16 site-a", "192.0.2.7/32 b", "192.0.2.8/32 c", "2001:db8:1::/48 site-a", subnet.Addr().Next().String()+"/128 b", "10.0.0.0/8 wide")
	own := addrs("192.0.2.1 10.9.0.1 fd5a:1b2c:3d4e:5f02::99")
	for _, tt := range []struct {
		name  string
		query string // [from>]to[ port/protocol]
		gone  bool
		want  string
	}{
		{"own address", "192.0.2.1", false, `local
table local: 192.0.2.1 is an address of this node: table local precedes all rules`},
		{"own mesh address", "fd5a:1b2c:3d4e:5f02::99", true, `local
table local: fd5a:1b2c:3d4e:5f02::99 is an address of this node: table local precedes all rules`},
		{"routed", "10.1.2.3", false, `tunnel to site-a by 10.1.0.0/16
outgoing: 10.1.2.3 is in 10.1.0.0/16 of set routed4: it gets mark 0x40
table 180: it goes by wirespan0
peers: site-a has 10.1.0.0/16`},
		{"routed, mapped", "::ffff:10.1.2.3", false, `tunnel to site-a by 10.1.0.0/16
outgoing: 10.1.2.3 is in 10.1.0.0/16 of set routed4: it gets mark 0x40
table 180: it goes by wirespan0
peers: site-a has 10.1.0.0/16`},
		{"routed over IPv6", "2001:db8:1::5", false, `tunnel to site-a by 2001:db8:1::/48
outgoing: 2001:db8:1::5 is in 2001:db8:1::/48 of set routed6: it gets mark 0x40
table 180: it goes by wirespan0
peers: site-a has 2001:db8:1::/48`},
		{"routed without the interface", "192.0.2.7", true, `refused to b by 192.0.2.7/32
outgoing: 192.0.2.7 is in 192.0.2.7/32 of set routed4: it gets mark 0x40
table 180: unreachable: the interface wirespan0 does not exist`},
		{"mesh address", "fd5a:1b2c:3d4e:5f02::1", false, `tunnel to b by fd5a:1b2c:3d4e:5f02::/64
table main: fd5a:1b2c:3d4e:5f02::1 is in the cluster's network fd5a:1b2c:3d4e:5f02::/64
table main: it goes by wirespan0
peers: b has fd5a:1b2c:3d4e:5f02::1/128`},
		{"mesh address of nobody", "fd5a:1b2c:3d4e:5f02::2", false, `tunnel by fd5a:1b2c:3d4e:5f02::/64
table main: fd5a:1b2c:3d4e:5f02::2 is in the cluster's network fd5a:1b2c:3d4e:5f02::/64
table main: it goes by wirespan0
peers: no peer has fd5a:1b2c:3d4e:5f02::2: the tunnel drops it`},
		{"mesh address without the interface", "fd5a:1b2c:3d4e:5f02::1", true, `refused to b by fd5a:1b2c:3d4e:5f02::/64
table main: fd5a:1b2c:3d4e:5f02::1 is in the cluster's network fd5a:1b2c:3d4e:5f02::/64
table main: unreachable: the interface wirespan0 does not exist`},
		{"a peer's, past the tunnel", "192.0.2.8", false, `bypass to c by 192.0.2.8/32
outgoing: 192.0.2.8 is in no prefix of set routed4
peers: c has 192.0.2.8/32, but it is not routed
table main: it goes by the host's own routes
outgoing: a reply to a connection from the tunnel would return through it`},
		{"nobody's", "198.51.100.1 443/tcp", true, `bypass
outgoing: 198.51.100.1 is in no prefix of set routed4
table main: it goes by the host's own routes
outgoing: a reply to a connection from the tunnel would return through it`},
		{"let in", "10.1.2.3>192.0.2.1 22/tcp", false, `local from site-a rule ssh
peers: 10.1.2.3 is in 10.1.0.0/16 of site-a
ingress: rule ssh accepts it: 10.1.2.3 is one of its sources
table local: 192.0.2.1 is an address of this node`},
		{"kept out by default", "192.0.2.8>192.0.2.1 22/tcp", false, `refused from c
peers: 192.0.2.8 is in 192.0.2.8/32 of c
ingress: no rule matches: the default action drops it`},
		{"forwarded and masqueraded", "10.1.2.3>10.9.8.7 22/tcp", false, `bypass to wide by 10.0.0.0/8 from site-a rule ssh
peers: 10.1.2.3 is in 10.1.0.0/16 of site-a
ingress: rule ssh accepts it: 10.1.2.3 is one of its sources
prerouting: 10.9.8.7 is in no prefix of set routed4
peers: wide has 10.0.0.0/8, but it is not routed
table main: it goes by the host's own routes
masquerading: 10.9.8.7 is in 10.9.0.0/16: the source becomes an address of this node`},
		{"back into the tunnel", "192.0.2.7>10.1.2.3 22/tcp", false, `tunnel to site-a by 10.1.0.0/16 from b rule ssh
peers: 192.0.2.7 is in 192.0.2.7/32 of b
ingress: rule ssh accepts it: 192.0.2.7 is one of its sources
prerouting: 10.1.2.3 is in 10.1.0.0/16 of set routed4: it gets mark 0x40
table 180: it goes by wirespan0
peers: site-a has 10.1.0.0/16`},
		{"from nobody", "198.51.100.1>192.0.2.1 22/tcp", false, `refused
peers: no peer may send from 198.51.100.1: the tunnel drops it`},
		{"from the mesh without the interface", "10.1.2.3>192.0.2.1 22/tcp", true, `refused from site-a
peers: no packet comes in: the interface wirespan0 does not exist`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := parseQuery(t, tt.query)
			q.Own, q.Peers, q.Gone = own, peers, tt.gone
			if got := renderExplanation(explainPolicy().Explain(q)); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestExplainRefusingRule(t *testing.T) {
	p := explainPolicy()
	p.Ingress.Default = ActionAccept
	q := Query{Source: addrs("192.0.2.8")[0], Destination: addrs("192.0.2.1")[0], Port: 22, Protocol: ProtocolTCP, Peers: owners("192.0.2.8/32 c")}
	want := `refused from c rule ssh
peers: 192.0.2.8 is in 192.0.2.8/32 of c
ingress: rule ssh drops it: 192.0.2.8 is not one of its sources`
	if got := renderExplanation(p.Explain(q)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestExplanationAsJSON(t *testing.T) {
	got, err := json.Marshal(testPolicy().Explain(Query{Destination: addrs("198.51.100.1")[0]}))
	want := `{"path":"bypass","reasons":[{"where":"outgoing","text":"198.51.100.1 is in no prefix of set routed4"},{"where":"table main","text":"it goes by the host's own routes"}]}`
	if err != nil || string(got) != want {
		t.Errorf("%v, %s, want %s", err, got, want)
	}
}

func parseQuery(t *testing.T, s string) (q Query) {
	t.Helper()
	s, service, _ := strings.Cut(s, " ")
	if from, to, ok := strings.Cut(s, ">"); ok {
		q.Source, s = netip.MustParseAddr(from), to
	}
	q.Destination = netip.MustParseAddr(s)
	if service != "" {
		if _, err := fmt.Sscanf(service, "%d/%s", &q.Port, &q.Protocol); err != nil {
			t.Fatal(err)
		}
	}
	return q
}

func renderExplanation(v Explanation) string {
	s := string(v.Path)
	word := func(name, value string) {
		if value != "" {
			s += " " + name + " " + value
		}
	}
	word("to", v.Peer)
	if v.Prefix.IsValid() {
		word("by", v.Prefix.String())
	}
	word("from", v.From)
	word("rule", v.Rule)
	for _, r := range v.Reasons {
		s += "\n" + r.Where + ": " + r.Text
	}
	return s
}

// With a stack inside the agent nothing is said of the kernel's interface, tables and marks.
func TestExplainInside(t *testing.T) {
	peers := owners("10.1.0.0/16 site-a", subnet.Addr().Next().String()+"/128 b")
	own := addrs("fd5a:1b2c:3d4e:5f02::99")
	for query, want := range map[string]Path{
		"10.1.2.3":                PathTunnel,
		"fd5a:1b2c:3d4e:5f02::1":  PathTunnel,
		"fd5a:1b2c:3d4e:5f02::99": PathLocal,
		"198.51.100.1":            PathBypass,
		"10.1.2.3>198.51.100.1":   PathRefused,
		"192.0.2.3>198.51.100.1":  PathRefused,
		"fd5a:1b2c:3d4e:5f02::1>fd5a:1b2c:3d4e:5f02::99 80/tcp": PathLocal,
	} {
		q := parseQuery(t, query)
		q.Inside, q.Peers, q.Own = true, peers, own
		p := explainPolicy()
		p.Ingress = Ingress{Default: ActionAccept}
		v := p.Explain(q)
		text := renderExplanation(v)
		if v.Path != want || len(v.Reasons) == 0 {
			t.Errorf("%s: %s, want %s", query, text, want)
		}
		for _, word := range []string{p.Interface, "table", "mark", "set "} {
			if strings.Contains(text, word) {
				t.Errorf("%s: %q in\n%s", query, word, text)
			}
		}
	}
}
