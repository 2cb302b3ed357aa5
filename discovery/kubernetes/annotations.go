package kubernetes

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
)

// Affiliate is the annotation with a node's sealed data, in base64.
const Affiliate = "wirespan.dev/affiliate"

// Talos' annotations.
const (
	nodeIDKey    = "cluster.talos.dev/node-id"
	addressesKey = "networking.talos.dev/self-ips"
	apiPortKey   = "networking.talos.dev/api-server-port"
	meshKey      = "networking.talos.dev/kubespan-ip"
	publicKeyKey = "networking.talos.dev/kubespan-public-key"
	networksKey  = "networking.talos.dev/assigned-prefixes"
	endpointsKey = "networking.talos.dev/kubespan-endpoints"
	excludedKey  = "networking.talos.dev/kubespan-exclude-advertised-networks"
)

// keys returns the annotations that the client reads and writes.
func keys() []string {
	return []string{Affiliate, nodeIDKey, addressesKey, apiPortKey, meshKey, publicKeyKey, networksKey, endpointsKey, excludedKey}
}

const (
	maxItems      = 128 // of one list
	maxTextLength = 253 // as at a discovery service
)

// plain returns an affiliate in Talos' form; an annotation with an empty value is to be
// removed. Networks that are broader than a /8 are left out, as at a discovery service: Talos
// must not route them.
func plain(a mesh.Affiliate) map[string]string {
	out := map[string]string{
		nodeIDKey:    a.NodeID,
		addressesKey: join(a.Addresses),
		apiPortKey:   "", // of a control plane, which this node never is
		meshKey:      "", publicKeyKey: "", networksKey: "", endpointsKey: "", excludedKey: "",
	}
	if a.PublicKey.IsZero() {
		return out
	}
	var shown []netip.Prefix
	for _, n := range a.AdditionalAddresses {
		if !mesh.IsBroad(n) {
			shown = append(shown, n)
		}
	}
	out[publicKeyKey] = a.PublicKey.String()
	if a.Address.IsValid() {
		out[meshKey] = a.Address.String()
	}
	out[networksKey], out[endpointsKey], out[excludedKey] = join(shown), join(a.Endpoints), join(a.ExcludeAdvertisedNetworks)
	return out
}

func join[T fmt.Stringer](list []T) string {
	var b strings.Builder
	for i, v := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(v.String())
	}
	return b.String()
}

// claim is what the annotations of a Node say of a node id.
type claim struct {
	Node         string
	ID           string
	Sealed       string            `json:",omitempty"` // the annotation Affiliate
	Plain        map[string]string `json:",omitempty"` // Talos' annotations
	Hostname, OS string            `json:",omitempty"`
	ControlPlane bool              `json:",omitempty"`
}

// claimOf returns the claim of a Node, which has an ID unless it makes none.
func claimOf(n *node) claim {
	id, ok := n.Annotations[nodeIDKey]
	if !ok {
		return claim{}
	}
	c := claim{Node: n.Name, ID: id, Sealed: n.Annotations[Affiliate], Plain: map[string]string{}}
	for _, key := range keys() {
		if v := n.Annotations[key]; v != "" && key != Affiliate && key != nodeIDKey {
			c.Plain[key] = v
		}
	}
	if c.Sealed == "" {
		c.Hostname, c.OS, c.ControlPlane = n.hostname, n.osImage, n.controlPlane
	}
	return c
}

// parser reads Talos' annotations. It counts what is malformed.
type parser struct {
	plain   map[string]string
	order   []string
	dropped map[string]int
}

func (p *parser) drop(what string) {
	if p.dropped == nil {
		p.dropped = map[string]int{}
	}
	if p.dropped[what]++; p.dropped[what] == 1 {
		p.order = append(p.order, what)
	}
}

// list returns the items of an annotation that parse, each once.
func list[T comparable](p *parser, key string, parse func(string) (T, bool)) []T {
	var out []T
	value := p.plain[key]
	if value == "" {
		return nil
	}
	seen := map[T]bool{}
	for i, item := range strings.SplitN(value, ",", maxItems+1) {
		v, ok := parse(item)
		switch {
		case i == maxItems || !ok:
			p.drop(key)
		case !seen[v]:
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// parsePlain reads a claim in Talos' form. It does not fail: what is malformed is left out
// and becomes a problem. Without a valid public key the KubeSpan part is left out.
func parsePlain(c *claim) (a mesh.Affiliate, problems []discovery.Problem) {
	p := &parser{plain: c.Plain}
	a = mesh.Affiliate{
		NodeID: c.ID, Nodename: p.text("name", c.Node), MachineType: mesh.MachineWorker,
		Hostname: p.text("hostname", c.Hostname), OperatingSystem: p.text("operating system", c.OS),
		Addresses: list(p, addressesKey, parseAddr),
	}
	if c.ControlPlane {
		a.MachineType = mesh.MachineControlPlane
	}
	if s := c.Plain[apiPortKey]; s != "" {
		var ok bool
		if a.ControlPlanePort, ok = parsePort(s); !ok {
			p.drop(apiPortKey)
		}
	}
	if s := c.Plain[publicKeyKey]; s != "" {
		p.readKubeSpan(&a, s)
	}
	for _, what := range p.order {
		problems = append(problems, discovery.Problem{
			AffiliateID: c.ID, Reason: fmt.Sprintf("Node %.64q: dropped malformed %s (%d)", c.Node, what, p.dropped[what]),
		})
	}
	return a, problems
}

func (p *parser) readKubeSpan(a *mesh.Affiliate, publicKey string) {
	key, err := mesh.ParseKey(publicKey)
	if err != nil || key.IsZero() {
		p.drop("KubeSpan part (invalid " + publicKeyKey + ")")
		return
	}
	a.PublicKey = key
	if s := p.plain[meshKey]; s != "" {
		var ok bool
		if a.Address, ok = parseAddr(s); !ok {
			p.drop(meshKey)
		}
	}
	a.AdditionalAddresses = list(p, networksKey, parsePrefix)
	a.ExcludeAdvertisedNetworks = list(p, excludedKey, parsePrefix)
	a.Endpoints = p.endpoints()
}

func (p *parser) endpoints() []netip.AddrPort {
	out := list(p, endpointsKey, parseEndpoint)
	if len(out) > discovery.MaxEndpoints {
		p.drop(fmt.Sprintf("endpoints beyond the limit of %d", discovery.MaxEndpoints))
		out = out[:discovery.MaxEndpoints]
	}
	return out
}

func (p *parser) text(what, s string) string {
	if len(s) > maxTextLength || !discovery.Printable(s) {
		p.drop(what)
		return ""
	}
	return s
}

func parseAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, false
	}
	a, err = codec.ParseAddr(a.AsSlice())
	return a, err == nil
}

func parsePrefix(s string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(s)
	return p, err == nil && !p.Addr().Is4In6()
}

func parseEndpoint(s string) (netip.AddrPort, bool) {
	ep, err := netip.ParseAddrPort(s)
	if err != nil || ep.Port() == 0 || ep.Addr().Zone() != "" {
		return netip.AddrPort{}, false
	}
	a, err := codec.ParseAddr(ep.Addr().AsSlice())
	return netip.AddrPortFrom(a, ep.Port()), err == nil
}

func parsePort(s string) (uint16, bool) {
	ep, err := netip.ParseAddrPort("0.0.0.0:" + s)
	return ep.Port(), err == nil && ep.Port() != 0
}
