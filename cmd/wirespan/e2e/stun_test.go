package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// coturn starts coturn, a STUN server of another project, on a host with a second address.
func (h *labHost) coturn() (server string) {
	h.Helper()
	const second = "10.90.0.200"
	h.ip("address add " + second + "/24 dev eth0")
	proc := h.spawn("coturn", "turnserver", "-n", "--stun-only", "--no-cli", "--no-tls", "--no-dtls",
		"-L", h.address, "-L", second, "--log-file", "stdout", "--pidfile", filepath.Join(h.dir, "coturn.pid"),
		"--db", filepath.Join(h.dir, "coturn.db"))
	server = h.address + ":3478"
	eventually(h.T, 20*time.Second, func() error {
		out, err := h.exec(h.binary, "netcheck", "--stun", server)
		if err == nil && !strings.Contains(out, "sees "+h.address) {
			err = errors.New(out)
		}
		return errors.Join(err, proc.running())
	})
	return server
}

// netcheck runs the command. The node's agent may be running or not.
func (n *labNode) netcheck(args ...string) (c mesh.Netcheck) {
	n.Helper()
	out := n.mustCLI(append([]string{"netcheck", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		n.Fatalf("netcheck: %v: %s", err, out)
	}
	return c
}

// scenarioNATTable connects nodes behind all kinds of NATs through a founder, by the STUN
// servers of the founder and of coturn. Only pairs that no NAT keeps apart meet. Netcheck
// is right about each NAT, with the agent and without.
func scenarioNATTable(l *lab) {
	p := l.host("p").node("")
	server := l.host("t").coturn()
	kinds := []natKind{natNone, natFullCone, natPortRestricted, natSymmetric}
	var sides [2][]*labNode
	for side := range sides {
		for _, kind := range kinds {
			name := fmt.Sprintf("%c%d", kind[0], side+1)
			h := l.host("r" + name)
			if kind != natNone {
				h = l.behindNAT(name, h, kind)
			}
			n := h.node(settings("stunServers: [" + server + "]"))
			sides[side] = append(sides[side], n)
		}
	}
	for i, n := range sides[0] {
		if c := n.netcheck("--stun", server); c.Running || c.Families[0].Type != string(kinds[i]) {
			l.Errorf("%s without an agent: netcheck says %+v, want %s", n.name, c, kinds[i])
		}
	}
	token := p.found()
	nodes := slices.Concat(sides[0], sides[1])
	started := time.Now()
	for _, n := range nodes {
		n.join(token)
	}
	took := l.pairsUp(sides, kinds, started, apart)
	l.logTable(kinds, took)
	for i, a := range sides[0] {
		for j, b := range sides[1] {
			if apart(kinds[i], kinds[j]) {
				if a.sees(b.name) == nil {
					l.Errorf("%s and %s have met, which such NATs do not allow", kinds[i], kinds[j])
				}
				continue
			}
			a.pings(b)
		}
		c := a.netcheck()
		n := c.Families[0]
		if !c.Running || n.Type != string(kinds[i]) || !n.Available {
			l.Errorf("%s with its agent: netcheck says %+v, want %s", a.name, c, kinds[i])
		}
		for _, s := range slices.Concat(c.STUN, c.Discovery) {
			if s.Address.Addr().Is4() && s.Error != "" {
				l.Errorf("%s: server %+v", a.name, s)
			}
		}
		l.Logf("%-16s mapping %s, filtering %s, seen at %v", kinds[i], n.Mapping, n.Filtering, n.Mapped)
	}
}

// apart reports whether two NATs keep nodes apart that have no relay.
func apart(a, b natKind) bool {
	if natBlocks[a] != "" || natBlocks[b] != "" {
		return true
	}
	strict := func(k natKind) bool { return k == natSymmetric || k == natPortRestricted }
	return strict(a) && strict(b) && (a == natSymmetric || b == natSymmetric)
}

// pairsUp waits until the pairs of both sides see each other, but for those that are kept apart,
// and returns how long each took.
func (l *lab) pairsUp(sides [2][]*labNode, kinds []natKind, started time.Time, apart func(a, b natKind) bool) map[[2]int]time.Duration {
	l.Helper()
	took := map[[2]int]time.Duration{}
	eventually(l.T, relayTime, func() error {
		var missing []string
		for i, a := range sides[0] {
			for j, b := range sides[1] {
				if took[[2]int{i, j}] > 0 || apart(kinds[i], kinds[j]) {
					continue
				}
				if err := errors.Join(a.sees(b.name), b.sees(a.name)); err != nil {
					missing = append(missing, fmt.Sprintf("%s and %s: %v", kinds[i], kinds[j], err))
					continue
				}
				took[[2]int{i, j}] = time.Since(started)
			}
		}
		if len(missing) > 0 {
			return errors.New(strings.Join(missing, "; "))
		}
		return nil
	})
	return took
}

// logTable shows how long the pairs took.
func (l *lab) logTable(kinds []natKind, took map[[2]int]time.Duration) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-16s", "")
	for _, k := range kinds {
		fmt.Fprintf(&b, "%17s", k)
	}
	for i, k := range kinds {
		fmt.Fprintf(&b, "\n%-16s", k)
		for j := range kinds {
			cell := "-"
			if d := took[[2]int{i, j}]; d > 0 {
				cell = d.Round(time.Millisecond).String()
			}
			fmt.Fprintf(&b, "%17s", cell)
		}
	}
	l.Logf("time from the start of all agents until a pair is up:%s", b.String())
}

// scenarioSTUNInterop checks STUN with coturn: its client asks our servers, at
// WireGuard's port and beside a discovery server of its own, and a node behind a NAT
// announces what its server says.
func scenarioSTUNInterop(l *lab) {
	p, client := l.host("p").node(""), l.host("c")
	d := l.host("d").discovery()
	server := l.host("t").coturn()
	token := p.found()
	d.start()
	for address, port := range map[string]string{p.address: "51820", d.address: "3000"} {
		out := client.mustExec("turnutils_stunclient", "-p", port, address)
		if seen := reflexive.FindStringSubmatch(out); seen == nil || seen[1] != client.address {
			l.Errorf("%s:%s answers %q, want %s", address, port, out, client.address)
		}
	}
	v6 := client.mustExec("turnutils_stunclient", "-p", "51820", "fd90::1")
	if !strings.Contains(v6, "fd90::2") {
		l.Errorf("[fd90::1]:51820 answers %q, want fd90::2", v6)
	}

	router := l.host("r")
	n := l.behindNAT("n", router, natPortRestricted).node(settings("stunServers: [" + server + "]"))
	n.join(token)
	l.allUp(p, n)
	want := netip.MustParseAddrPort(router.address + ":51820")
	eventually(l.T, 20*time.Second, func() error {
		specs, err := resources[labSpec](p, "kubespanpeerspecs")
		if err != nil {
			return err
		}
		for _, s := range specs {
			if slices.Contains(s.Endpoints, want) {
				return nil
			}
		}
		return fmt.Errorf("no peer is announced at %v: %+v", want, specs)
	})
}

// reflexive is what coturn's client says of its address.
var reflexive = regexp.MustCompile(`reflexive addr: ([0-9.]+):\d+`)
