package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/discovery/server"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// recovery is less than trying one endpoint after another takes.
const recovery = 15 * time.Second

// twoPaths is two nodes on hosts with two links between them: eth0 on the switch, and eth1.
type twoPaths struct {
	*lab
	a, b *labNode
	to   netip.Addr // b in the mesh
	log  string     // of a's pings
}

// scenarioPaths checks what happens to pings while paths between two nodes are cut, come back
// and change their addresses.
func scenarioPaths(l *lab) {
	ha, hb := l.host("a"), l.host("b")
	l.must("ip", "-n", ha.ns, "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", hb.ns)
	for i, h := range []*labHost{ha, hb} {
		h.ip(fmt.Sprintf("address add 10.95.0.%d/24 dev eth1", i+1))
		h.ip(fmt.Sprintf("address add fd95::%d/64 dev eth1 nodad", i+1))
		h.ip("link set eth1 up")
		h.set("ipv4/conf/eth0/promote_secondaries", "1")
	}
	const announce = "addressFilters: [eth0, eth1]"
	p := &twoPaths{lab: l, a: ha.node(settings(announce)), b: hb.node(settings(announce))}
	p.b.join(p.a.found())
	l.allUp(p.a, p.b)
	p.to = p.b.mustStatus().Node.Address
	active, idle := 10, 1
	if longWaits {
		active, idle = 100, 20
	}
	p.cutActive(active)
	p.cutIdle(idle)
	p.oneLink()
}

// ping starts pings of a, ten a second, and returns what ends them.
func (p *twoPaths) ping() (end func()) {
	p.Helper()
	p.log = filepath.Join(p.dir, "pings.log")
	_ = os.Remove(p.log)
	process := p.a.spawn("pings", "ping", "-6", "-D", "-i", "0.1", p.to.String())
	eventually(p.T, within, func() error { return p.repliedAfter(time.Time{}) })
	return func() { process.end(p.T, syscall.SIGINT) }
}

// replies returns when replies came.
func (p *twoPaths) replies() (list []time.Time) {
	data, _ := os.ReadFile(p.log)
	for line := range strings.Lines(string(data)) {
		stamp, rest, _ := strings.Cut(strings.TrimPrefix(line, "["), "] ")
		if seconds, err := strconv.ParseFloat(stamp, 64); err == nil && strings.Contains(rest, "bytes from") {
			list = append(list, time.UnixMicro(int64(seconds*1e6)))
		}
	}
	return list
}

// repliedAfter returns an error if no reply came after t.
func (p *twoPaths) repliedAfter(t time.Time) error {
	list := p.replies()
	if len(list) == 0 || !list[len(list)-1].After(t) {
		return errors.New("no reply")
	}
	return nil
}

// gap returns the longest time without a reply since start.
func (p *twoPaths) gap(start time.Time) (longest time.Duration) {
	last := start
	for _, at := range p.replies() {
		if at.After(start) {
			longest, last = max(longest, at.Sub(last)), at
		}
	}
	return max(longest, time.Since(last))
}

// link returns the link by which a node sends to the other.
func (p *twoPaths) link(n *labNode, peer string) (string, error) {
	v, err := n.peer(peer)
	if at := v.Endpoint.Addr().String(); strings.HasPrefix(at, "10.95.") || strings.HasPrefix(at, "fd95:") {
		return "eth1", err
	}
	return "eth0", err
}

// cut cuts a link for encrypted packets, towards the given nodes.
func (p *twoPaths) cut(link string, towards ...*labNode) (mend func()) {
	for _, n := range towards {
		n.nft("table inet cut { chain in { type filter hook prerouting priority raw; iifname " + link + " udp dport 51820 drop; }\n}")
	}
	return func() {
		for _, n := range towards {
			n.mustExec("nft", "delete table inet cut")
		}
	}
}

// cutActive cuts the path in use under pings, in both directions or in one of them.
func (p *twoPaths) cutActive(rounds int) {
	p.Helper()
	defer p.ping()()
	var worst, sum time.Duration
	for i := range rounds {
		was, err := p.link(p.a, "b")
		if err != nil {
			p.Fatal(err)
		}
		towards := [][]*labNode{{p.a, p.b}, {p.a}, {p.b}}[i%3]
		start := time.Now()
		mend := p.cut(was, towards...)
		cut := time.Now()
		eventually(p.T, recovery, func() error {
			now, err := p.link(p.a, "b")
			if err == nil && now == was {
				err = fmt.Errorf("a is still on %s", was)
			}
			return errors.Join(err, p.repliedAfter(cut))
		})
		took := p.gap(start)
		worst, sum = max(worst, took), sum+took
		mend()
		settled := time.Now()
		eventually(p.T, recovery, func() error { return p.repliedAfter(settled.Add(300 * time.Millisecond)) })
	}
	p.Logf("%d cuts under traffic: nothing for %v on average, %v at most", rounds, (sum / time.Duration(rounds)).Round(time.Millisecond), worst.Round(time.Millisecond))
}

// cutIdle cuts the path in use without traffic.
func (p *twoPaths) cutIdle(rounds int) {
	p.Helper()
	var worst time.Duration
	for range rounds {
		was, err := p.link(p.a, "b")
		if err != nil {
			p.Fatal(err)
		}
		<-time.After(3 * time.Second) // what was under way
		mend := p.cut(was, p.a, p.b)
		took := eventually(p.T, time.Minute, func() error {
			for n, peer := range map[*labNode]string{p.a: "b", p.b: "a"} {
				if now, err := p.link(n, peer); err != nil || now == was {
					return errors.Join(err, fmt.Errorf("%s is on %s", n.name, now))
				}
			}
			return nil
		})
		worst = max(worst, took)
		p.a.reaches(p.to)
		mend()
	}
	p.Logf("%d cuts without traffic: another path after %v at most", rounds, worst.Round(time.Millisecond))
}

// oneLink takes one link away for good. The other one goes and comes back, its host gets other
// addresses, and loses those of one family. With longWaits an agent is stopped for a while.
func (p *twoPaths) oneLink() {
	p.Helper()
	defer p.ping()()
	start := time.Now()
	p.a.ip("link set eth1 down")
	eventually(p.T, recovery, func() error {
		now, err := p.link(p.a, "b")
		if err == nil && now != "eth0" {
			err = errors.New("a is still on eth1")
		}
		return errors.Join(err, p.repliedAfter(start.Add(time.Second)))
	})
	p.Logf("a link goes down: nothing for %v", p.gap(start).Round(time.Millisecond))
	p.b.ip("link set eth0 down")
	<-time.After(5 * time.Second)
	start = time.Now()
	p.b.ip("link set eth0 up")
	p.b.ip("address replace fd90::2/64 dev eth0 nodad")
	p.b.ip("route replace default via 10.90.0.254")
	p.resumes("the link comes back", start)
	if longWaits {
		if err := p.b.proc.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			p.Fatal(err)
		}
		<-time.After(3 * time.Minute)
		start = time.Now()
		if err := p.b.proc.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			p.Fatal(err)
		}
		p.resumes("an agent goes on after 3 min", start)
	}
	var worst time.Duration
	for i := range 3 {
		start := time.Now()
		p.b.ip(fmt.Sprintf("address add 10.90.0.%d/24 dev eth0", 78+i))
		p.b.ip(fmt.Sprintf("address add fd90::%d/64 dev eth0 nodad", 78+i))
		old, old6 := fmt.Sprintf("10.90.0.%d", 77+i), fmt.Sprintf("fd90::%d", 77+i)
		if i == 0 {
			old, old6 = p.b.address, p.b.outer6().String()
		}
		p.b.ip("address del " + old + "/24 dev eth0")
		p.b.ip("address del " + old6 + "/64 dev eth0")
		eventually(p.T, recovery, func() error { return p.repliedAfter(start.Add(3 * time.Second)) })
		worst = max(worst, p.gap(start))
	}
	p.Logf("other addresses: nothing for %v at most", worst.Round(time.Millisecond))
	for _, family := range []string{"-4", "-6"} {
		start := time.Now()
		p.b.ip(family + " address flush dev eth0")
		eventually(p.T, recovery, func() error { return p.repliedAfter(start.Add(3 * time.Second)) })
		p.Logf("no address of IPv%s: nothing for %v", family[1:], p.gap(start).Round(time.Millisecond))
		p.b.ip("address replace 10.90.0.90/24 dev eth0")
		p.b.ip("address replace fd90::90/64 dev eth0 nodad")
		<-time.After(3 * time.Second)
	}
}

// resumes waits for the first reply since start.
func (p *twoPaths) resumes(what string, start time.Time) {
	p.Helper()
	eventually(p.T, recovery, func() error { return p.repliedAfter(start) })
	for _, at := range p.replies() {
		if at.After(start) {
			p.Logf("%s: used after %v", what, at.Sub(start).Round(time.Millisecond))
			return
		}
	}
}

// scenarioPathsUpstream checks that a node reaches a peer that is upstream's program, set up
// with wg(8), of which discovery has one endpoint that lives among several dead ones.
func scenarioPathsUpstream(l *lab) {
	s, ha, far := l.host("s"), l.host("a"), l.host("b").tunnelEnd(2)
	far.runUpstream()
	preshared := random32()
	id, secret := "plain", mesh.NewSecret(preshared)
	key, err := mesh.ParseKey(far.public)
	if err != nil {
		l.Fatal(err)
	}
	address, err := mesh.NodeAddress(mesh.ULA(id), []byte{2, 0, 0, 0, 0, 2})
	if err != nil {
		l.Fatal(err)
	}
	plain := mesh.Affiliate{NodeID: mesh.NodeIDFromBytes(key), Nodename: "plain", MachineType: mesh.MachineWorker, PublicKey: key, Address: address}
	sealed := server.Affiliate{ID: plain.NodeID}
	nonce := random32()
	if sealed.Data, _, err = codec.SealAffiliate(codec.Cluster{ID: id, Secret: secret}, mesh.NodeKey{}, plain, [codec.NonceSize]byte(nonce[:])); err != nil {
		l.Fatal(err)
	}
	for _, at := range []string{"10.90.0.101:51820", "10.90.0.254:51820", "203.0.113.1:51820", far.address + ":51820", "10.90.0.102:51820", far.address + ":9"} {
		endpoint, err := codec.SealEndpoint(secret, netip.MustParseAddrPort(at))
		if err != nil {
			l.Fatal(err)
		}
		sealed.Endpoints = append(sealed.Endpoints, endpoint)
	}
	s.serveCrowd([]server.Affiliate{sealed})
	documents := string(config.EncodeCluster(id, secret, []config.Service{{Name: "s", Endpoint: s.address + ":3000", Insecure: true}}))
	a := ha.node(documents)
	a.up()
	eventually(l.T, within, func() error { _, err := a.peer("plain"); return err })
	own := a.mustStatus().Node
	far.ip(fmt.Sprintf("address add %s/64 dev %s nodad", address, far.link))
	path := filepath.Join(l.dir, "plain.conf")
	text := fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = 51820\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = %s/128\n",
		far.key, own.PublicKey, mesh.Key(preshared), own.Address)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.Fatal(err)
	}
	far.mustExec("wg", "setconf", far.link, path)
	far.ip("link set " + far.link + " up")
	for range 3 {
		a.restart()
		eventually(l.T, within, func() error { _, err := a.peer("plain"); return err })
		took := eventually(l.T, recovery, func() error { return a.sees("plain") })
		l.Logf("up %v after it was known", took.Round(time.Millisecond))
		a.reaches(address)
	}
	if p, err := a.peer("plain"); err != nil || p.Endpoint.String() != far.address+":51820" {
		l.Errorf("plain is at %v: %v", p.Endpoint, err)
	}
}
