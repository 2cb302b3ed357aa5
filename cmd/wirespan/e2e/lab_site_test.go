package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

// within is how long the lab waits for what should be there at once.
const within = 20 * time.Second

// site is a host that knows nothing of the mesh, in a network of its own. A host
// on the switch is its gateway.
//
//	     gateway eth0 --- switch
//	          |
//	10.61.N.1 lan0 fd61:N::1
//	          |
//	10.61.N.2 eth0 fd61:N::2
//	        site
type site struct {
	*labHost
	number int
	v4, v6 netip.Addr
}

// site makes the network of a number behind the gateway.
func (h *labHost) site(number int) *site {
	h.Helper()
	s := &site{
		labHost: h.namespace(fmt.Sprintf("s%d", number)), number: number,
		v4: netip.AddrFrom4([4]byte{10, 61, byte(number), 2}),
		v6: netip.MustParseAddr(fmt.Sprintf("fd61:%d::2", number)),
	}
	h.must("ip", "-n", h.ns, "link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", s.ns)
	h.ip(fmt.Sprintf("address add 10.61.%d.1/24 dev lan0", number))
	h.ip(fmt.Sprintf("address add fd61:%d::1/64 dev lan0 nodad", number))
	h.ip("link set lan0 up")
	s.ip(fmt.Sprintf("address add %s/24 dev eth0", s.v4))
	s.ip(fmt.Sprintf("address add %s/64 dev eth0 nodad", s.v6))
	s.ip("link set eth0 up")
	s.ip("route add default via " + s.gateway(s.v4).String())
	s.ip("route add default via " + s.gateway(s.v6).String())
	return s
}

// gateway is the gateway's address in the site, of the family of a.
func (s *site) gateway(a netip.Addr) netip.Addr {
	if a.Is4() {
		return s.v4.Prev()
	}
	return s.v6.Prev()
}

func (s *site) addresses() []netip.Addr { return []netip.Addr{s.v4, s.v6} }

// networks are the site's, as a list in YAML.
func (s *site) networks() string { return fmt.Sprintf("[10.61.%d.0/24, fd61:%[1]d::/64]", s.number) }

// settings is a document with this agent's own settings.
func settings(keys ...string) string {
	return "apiVersion: v1alpha1\nkind: WirespanConfig\n" + strings.Join(keys, "\n") + "\n"
}

// leader makes the host an agent that leads to its site.
func (h *labHost) leader(s *site, keys ...string) *labNode {
	h.Helper()
	return h.node(settings(append(keys, "advertisedNetworks: "+s.networks())...))
}

// serve answers flows and datagrams on port 9000 of the host, from where it is.
func (h *labHost) serve() {
	h.Helper()
	var streams net.Listener
	var datagrams net.PacketConn
	err := h.inside(func() (err error) {
		if streams, err = net.Listen("tcp", ":9000"); err == nil {
			datagrams, err = net.ListenPacket("udp", ":9000")
		}
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serveStreams(streams) }()
	go serveDatagrams(datagrams)
	h.Cleanup(func() {
		_ = errors.Join(streams.Close(), datagrams.Close())
		if err := <-done; err != nil {
			h.Errorf("%s: %v", h.name, err)
		}
	})
}

// reaches pings an address, again until it answers.
func (h *labHost) reaches(a netip.Addr) {
	h.Helper()
	eventually(h.T, within, func() error { return h.ping(a) })
}

// ping sends two echo requests.
func (h *labHost) ping(a netip.Addr, flags ...string) error {
	_, err := h.exec(append([]string{"ping", "-c", "2", "-i", "0.1", "-W", "2", a.String()}, flags...)...)
	return err
}

// labRoute is what the scenarios read of a route.
type labRoute struct {
	Peer string         `json:"peer"`
	Path mesh.Path      `json:"path"`
	Up   mesh.PeerState `json:"state"`
}

// leads waits until the node knows that a network of a peer takes a path.
func (n *labNode) leads(network, peer string, path mesh.Path) {
	n.Helper()
	eventually(n.T, within, func() error {
		routes, err := resources[labRoute](n, "routes")
		if r := routes[network]; err == nil && (r.Peer != peer || r.Path != path) {
			err = fmt.Errorf("%s has %s as %+v, want peer %s and path %s; of all %v", n.name, network, r, peer, path, routes)
		}
		return err
	})
}

// explains asks where packets go. Plan and kernel have to agree.
func (n *labNode) explains(target string, path firewall.Path, peer string, flags ...string) {
	n.Helper()
	out := n.mustCLI(append([]string{"explain", target, "-o", "json"}, flags...)...)
	var e agent.Explanation
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		n.Fatalf("explain %s: %v\n%s", target, err, out)
	}
	if e.Plan.Path != path || e.Plan.Peer != peer || e.Kernel == nil || e.Kernel.Path != path || e.Difference != "" {
		n.Errorf("explain %s on %s, want %s to %q:\n%s", target, n.name, path, peer, out)
	}
}

// condition waits for a condition whose text has all of the words.
func (n *labNode) condition(typ mesh.ConditionType, words ...string) {
	n.Helper()
	eventually(n.T, within, func() error {
		s, err := n.status()
		if err != nil {
			return errors.Join(err, n.proc.running())
		}
	next:
		for _, c := range s.Conditions {
			for _, w := range words {
				if c.Type != typ || !strings.Contains(c.Subject+" "+c.Message, w) {
					continue next
				}
			}
			return nil
		}
		return fmt.Errorf("%s has no condition %s with %q: %+v", n.name, typ, words, s.Conditions)
	})
}

// calm waits until the node has no condition but those of the types.
func (n *labNode) calm(but ...mesh.ConditionType) {
	n.Helper()
	eventually(n.T, within, func() error {
		s, err := n.status()
		if err != nil {
			return err
		}
	next:
		for _, c := range s.Conditions {
			for _, typ := range but {
				if c.Type == typ {
					continue next
				}
			}
			return fmt.Errorf("conditions of %s: %+v", n.name, s.Conditions)
		}
		return nil
	})
}

var counts = regexp.MustCompile(`counter packets \d+ bytes \d+`)

// kernel is what others could have changed on the host: rules, routes and
// settings, without counts.
func (h *labHost) kernel() string {
	h.Helper()
	var b strings.Builder
	b.WriteString(counts.ReplaceAllString(h.mustExec("nft", "list", "ruleset"), "counter"))
	for _, family := range []string{"-4", "-6"} {
		b.WriteString(h.mustExec("ip", family, "rule"))
		routes := strings.Split(h.mustExec("ip", family, "route", "show", "table", "all"), "\n")
		sort.Strings(routes)
		b.WriteString(strings.Join(routes, "\n") + "\n")
	}
	var settings []string
	err := h.inside(func() error {
		for _, name := range []string{"ipv4/ip_forward", "ipv?/conf/*/forwarding", "ipv6/conf/*/force_forwarding", "ipv4/conf/*/rp_filter", "ipv4/conf/*/src_valid_mark"} {
			paths, _ := filepath.Glob("/proc/sys/net/" + name) // the pattern is good
			for _, path := range paths {
				value, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				settings = append(settings, path+" = "+string(value))
			}
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	b.WriteString(strings.Join(settings, ""))
	return b.String()
}

// difference lists the lines that two texts don't share.
func difference(before, after string) string {
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[line]--
	}
	for line := range strings.Lines(after) {
		count[line]++
	}
	var out []string
	for line, n := range count {
		switch {
		case n < 0:
			out = append(out, "- "+line)
		case n > 0:
			out = append(out, "+ "+line)
		}
	}
	sort.Strings(out)
	return strings.Join(out, "")
}

// untouched waits until the host's kernel is as it was.
func (h *labHost) untouched(before string) {
	h.Helper()
	eventually(h.T, within, func() error {
		if d := difference(before, h.kernel()); d != "" {
			return fmt.Errorf("the kernel of %s is not as before:\n%s", h.name, d)
		}
		return nil
	})
}
