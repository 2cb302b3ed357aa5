package config_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh/config"
)

const someRules = `ingress:
    defaultAction: block
    rules:
        - name: ssh
          portSelector:
              ports: [8000-8100, 22]
              protocol: tcp
          ingress:
              - subnet: 10.0.0.0/8
                except: 10.1.0.0/16
              - subnet: 2001:db8::/32
          peers: [box2, box3.example]
        - name: ping
          portSelector: {protocol: icmpv6}
          ingress: [{subnet: "::/0"}]
        - name: nobody
          portSelector: {protocol: udp, ports: ["53"]}
`

func TestIngress(t *testing.T) {
	p := prefixes("10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "::/0")
	want := config.Ingress{Default: firewall.ActionBlock, Rules: []config.IngressRule{
		{
			Name: "ssh", Protocol: firewall.ProtocolTCP,
			Ports:   []firewall.PortRange{{From: 22, To: 22}, {From: 8000, To: 8100}},
			Subnets: []firewall.Subnet{{Prefix: p[0], Except: p[1]}, {Prefix: p[2]}},
			Peers:   []string{"box2", "box3.example"},
		},
		{Name: "ping", Protocol: firewall.ProtocolICMPv6, Subnets: []firewall.Subnet{{Prefix: p[3]}}},
		{Name: "nobody", Protocol: firewall.ProtocolUDP, Ports: []firewall.PortRange{{From: 53, To: 53}}},
	}}
	c := mustLoad(t, wirespan(someRules), config.Options{})
	if !reflect.DeepEqual(c.Ingress, want) {
		t.Errorf("%+v\nwant %+v", c.Ingress, want)
	}
	if c.HostRules {
		t.Error("these are not Talos' own rules")
	}
	if d := config.Diff(mustLoad(t, "", config.Options{}), c); d != nil {
		t.Errorf("a change of rules should need no restart: %v", d)
	}
	for _, keys := range []string{"", "ingress:\n", "ingress: {}\n", "ingress: {defaultAction: , rules: }\n", "ingress: {rules: []}\n"} {
		if in := mustLoad(t, wirespan(keys), config.Options{}).Ingress; in.Default != firewall.ActionAccept || in.Rules != nil {
			t.Errorf("%q: %+v", keys, in)
		}
	}
}

// rule is a WirespanConfig with one incomplete rule, completed by keys.
func rule(keys string) string { return wirespan("ingress:\n  rules:\n  - name: a\n    " + keys + "\n") }

func TestIngressErrors(t *testing.T) {
	const at, in = "a.yaml:6: ", "WirespanConfig: ingress rule a: "
	tcp := func(ports string) string { return rule("portSelector: {protocol: tcp, ports: [" + ports + "]}") }
	from := func(keys string) string { return rule("portSelector: {protocol: tcp, ports: [1]}\n    " + keys) }
	runErrors(t, []errorCase{
		{"default action", wirespan("ingress: {defaultAction: deny}\n"), []string{
			"a.yaml:3: WirespanConfig: ingress.defaultAction: deny does not belong to DefaultAction values (accept, block)",
		}},
		{"no mapping", wirespan("ingress: block\n"), []string{"a.yaml:3: ingress: expected a mapping"}},
		{"no list", wirespan("ingress: {rules: {}}\n"), []string{"a.yaml:3: ingress.rules: expected a list of at most 256 mappings"}},
		{"no rule", wirespan("ingress:\n  rules:\n  - ssh\n"), []string{"a.yaml:5: ingress.rules[0]: expected a mapping"}},
		{"too many rules", wirespan("ingress:\n  rules: [" + strings.Repeat("{},", 257) + "]\n"), []string{
			"a.yaml:4: ingress.rules: expected a list of at most 256 mappings",
		}},
		{"empty rule", wirespan("ingress:\n  rules:\n  - {}\n"), []string{
			"a.yaml:5: WirespanConfig: ingress rule 1: name is required",
			"a.yaml:5: WirespanConfig: ingress rule 1: portSelector.protocol is required",
		}},
		{"same name", wirespan("ingress:\n  rules:\n  - {name: a, portSelector: {protocol: icmp}}\n  - {name: a, portSelector: {protocol: icmp}}\n"), []string{
			at + in + "duplicate name, also used at line 5",
		}},
		{"unprintable name", wirespan("ingress:\n  rules:\n  - {name: \"a\\e[31m\", portSelector: {protocol: icmp}}\n"), []string{
			"a.yaml:5: WirespanConfig: ingress rule a?[31m: the name is not printable or longer than 64 bytes",
		}},
		{"long name", wirespan("ingress:\n  rules:\n  - {name: " + strings.Repeat("a", 65) + ", portSelector: {protocol: icmp}}\n"), []string{
			"a.yaml:5: WirespanConfig: ingress rule " + strings.Repeat("a", 65) + ": the name is not printable or longer than 64 bytes",
		}},
		{"unknown keys", wirespan("ingres: {}\ningress:\n  default: block\n  rules:\n  - name: a\n    portSelector: {protocol: icmp, port: 1}\n" +
			"    ingress: [{subnet: 10.0.0.0/8, excpt: 10.1.0.0/16}]\n    peer: x\n"), []string{
			`a.yaml:8: unknown keys found during decoding: ingress.rules[0].portSelector.port (line 8; did you mean "ports"?)`,
			`a.yaml:9: unknown keys found during decoding: ingress.rules[0].ingress[0].excpt (line 9; did you mean "except"?)`,
			`a.yaml:10: unknown keys found during decoding: ingress.rules[0].peer (line 10; did you mean "peers"?)`,
			"a.yaml:5: unknown keys found during decoding: ingress.default (line 5)",
			`a.yaml:3: unknown keys found during decoding: ingres (line 3; did you mean "ingress"?)`,
		}},
		{"protocol", rule("portSelector: {protocol: sctp, ports: [1]}"), []string{
			at + in + "sctp does not belong to Protocol values (tcp, udp, icmp, icmpv6)",
		}},
		{"no ports", rule("portSelector: {protocol: udp}"), []string{at + in + "portSelector.ports is required"}},
		{"empty ports", tcp(""), []string{at + in + "portSelector.ports is required"}},
		{"ports of ICMP", rule("portSelector: {protocol: icmpv6, ports: [1]}"), []string{
			at + in + "portSelector.ports does not apply to icmpv6; remove it",
		}},
		{"port zero", tcp("0"), []string{at + in + "invalid port range: 0-0, ports are 1 to 65535"}},
		{"port too high", tcp("65536"), []string{at + in + `invalid port range: "65536"`}},
		{"port by name", tcp("ssh"), []string{at + in + `invalid port range: "ssh"`}},
		{"half a range", tcp("'80-'"), []string{at + in + `invalid port range: "80-"`}},
		{"backwards", tcp("80-79"), []string{at + in + "invalid port range: 80-79"}},
		{"port twice", tcp("80, 22, 80"), []string{at + in + "invalid port range: 80-80, overlaps with 80-80"}},
		{"overlapping ports", tcp("85-95, 80-90"), []string{at + in + "invalid port range: 85-95, overlaps with 80-90"}},
		{"port in a far range", tcp("50, 1-100, 60"), []string{
			at + in + "invalid port range: 50-50, overlaps with 1-100",
		}},
		{"no subnet", from("ingress: [{}]"), []string{
			"a.yaml:7: " + in + `invalid subnet: "" is not a network such as 10.0.0.0/8 or 2001:db8::/32`,
		}},
		{"subnet", from("ingress:\n    - subnet: 10.0.0.0"), []string{
			"a.yaml:8: " + in + `invalid subnet: "10.0.0.0" is not a network such as 10.0.0.0/8 or 2001:db8::/32`,
		}},
		{"host bits", from("ingress: [{subnet: 10.0.0.1/8}]"), []string{
			"a.yaml:7: " + in + "invalid subnet: 10.0.0.1/8 has host bits set; did you mean 10.0.0.0/8?",
		}},
		{"exception", from("ingress:\n    - subnet: 10.0.0.0/8\n      except: x"), []string{
			"a.yaml:9: " + in + `invalid except: "x" is not a network such as 10.0.0.0/8 or 2001:db8::/32`,
		}},
		{"exceptions elsewhere", from("ingress: [{subnet: 10.0.0.0/8, except: 11.0.0.0/16}, {subnet: '::/0', except: 12.0.0.0/8}, " +
			"{subnet: 13.0.0.0/8, except: 13.0.0.0/8}]"), []string{
			"a.yaml:7: " + in + "invalid except: 11.0.0.0/16 is not a part of 10.0.0.0/8",
			"a.yaml:7: " + in + "invalid except: 12.0.0.0/8 is not a part of ::/0",
			"a.yaml:7: " + in + "invalid except: 13.0.0.0/8 is not a part of 13.0.0.0/8",
		}},
		{"overlapping subnets", from("ingress: [{subnet: 10.1.2.0/24}, {subnet: 10.0.0.0/8, except: 10.1.0.0/16}]"), []string{
			"a.yaml:7: " + in + "invalid subnet: 10.1.2.0/24 is inside 10.0.0.0/8; leave one of them out",
		}},
		{"peers", from("peers: [box2, Box_3, box2]"), []string{
			"a.yaml:7: " + in + `invalid peer: "Box_3" is not a node name (lower-case letters, digits, - and .)`,
			"a.yaml:7: " + in + "invalid peer: duplicate nodename box2",
		}},
		{"too many subnets", from("ingress: [" + strings.Repeat("{},", 1025) + "]"), []string{
			"a.yaml:7: ingress.rules[0].ingress: expected a list of at most 1024 mappings",
		}},
		{"too many sources", wirespan("ingress:\n  rules:" + manyPeers(5)), []string{
			"a.yaml:3: WirespanConfig: ingress: more than 4096 sources (subnets and peers) in all rules",
		}},
	})
	mustLoad(t, wirespan("ingress:\n  rules:"+manyPeers(4)), config.Options{})
}

// manyPeers are rules of 1024 peers each, kept short with aliases.
func manyPeers(rules int) string {
	var peers []string
	for i := range 1024 {
		peers = append(peers, fmt.Sprint("box", i))
	}
	list := "&peers [" + strings.Join(peers, ", ") + "]"
	var b strings.Builder
	for i := range rules {
		fmt.Fprintf(&b, "\n  - {name: r%d, portSelector: {protocol: icmp}, peers: %s}", i, list)
		list = "*peers"
	}
	return b.String() + "\n"
}

// Rules of Talos for its host get only the checks of Talos.
func TestHostRules(t *testing.T) {
	const defaultAction = "apiVersion: v1alpha1\nkind: NetworkDefaultActionConfig\n"
	hostRule := func(keys string) string { return "apiVersion: v1alpha1\nkind: NetworkRuleConfig\n" + keys }
	const ports = "portSelector: {ports: [0-53, 8000-9000], protocol: udp}\n"
	for _, yaml := range []string{
		defaultAction, defaultAction + "ingress: block\n", hostRule("name: a\n" + ports),
		hostRule("name: a\n" + ports + "ingress: [{subnet: 192.168.0.1/16, except: 10.0.0.3/32}, {subnet: 192.168.0.0/16}]\n"),
		docs(hostRule("name: a\nportSelector: {ports: [1], protocol: icmp}\n"), hostRule("name: b\nportSelector: {ports: [1]}\n")),
	} {
		if c := mustLoad(t, yaml, config.Options{}); !c.HostRules || c.Ignored != nil || c.Ingress.Default != firewall.ActionAccept || c.Ingress.Rules != nil {
			t.Errorf("%s: host rules %v, ignored %v, ingress %+v", yaml, c.HostRules, c.Ignored, c.Ingress)
		}
	}
	const in = "NetworkRuleConfig/a: "
	runErrors(t, []errorCase{
		{"action", defaultAction + "ingress: drop\n", []string{
			"a.yaml:3: NetworkDefaultActionConfig: ingress: drop does not belong to DefaultAction values (accept, block)",
		}},
		{"two actions", docs(defaultAction, defaultAction), []string{
			"a.yaml:4: duplicate document v1alpha1/NetworkDefaultActionConfig/ is not allowed (line 4)",
		}},
		{"two rules", docs(hostRule("name: a\n"+ports), hostRule("name: b\n"+ports), hostRule("name: a\n"+ports)), []string{
			"a.yaml:11: duplicate document v1alpha1/NetworkRuleConfig/a is not allowed (line 11)",
		}},
		{"empty", hostRule(""), []string{
			"a.yaml:1: NetworkRuleConfig/: name is required", "a.yaml:1: NetworkRuleConfig/: portSelector.ports is required",
		}},
		{"all wrong", hostRule("name: a\nportSelector:\n  ports: [80, 90-79, x]\n  protocol: sctp\ningress:\n- subnet: x\n- {subnet: 10.0.0.0/8, except: y}\n- {}\n"), []string{
			"a.yaml:6: " + in + "sctp does not belong to Protocol values (tcp, udp, icmp, icmpv6)",
			"a.yaml:5: " + in + "invalid port range: 90-79",
			"a.yaml:5: " + in + `invalid port range: "x"`,
			"a.yaml:8: " + in + `invalid subnet: "x" is not a network such as 10.0.0.0/8 or 2001:db8::/32`,
			"a.yaml:9: " + in + `invalid except: "y" is not a network such as 10.0.0.0/8 or 2001:db8::/32`,
			"a.yaml:10: " + in + `invalid subnet: "" is not a network such as 10.0.0.0/8 or 2001:db8::/32`,
		}},
		{"unknown keys", defaultAction + "ingres: block\n---\n" + hostRule("name: a\n"+ports+"peers: [a]\n"), []string{
			`a.yaml:3: unknown keys found during decoding: ingres (line 3; did you mean "ingress"?)`,
			"a.yaml:9: unknown keys found during decoding: peers (line 9)",
		}},
		{"misspelt", "apiVersion: v1alpha1\nkind: NetworkRulesConfig\n", []string{
			`a.yaml:2: "NetworkRulesConfig" "v1alpha1": not registered; did you mean "NetworkRuleConfig"?`,
		}},
	})
}
