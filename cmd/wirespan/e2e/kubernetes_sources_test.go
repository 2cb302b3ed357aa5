package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/mesh/state"
)

// cachedUpLimit is the time from the start of agents that have nothing but their caches
// within which all are up.
const cachedUpLimit = 5 * time.Second

// kubernetesSources checks a mesh with a discovery service, the API, peers files and caches.
// Each is taken away in turn under traffic; then all but the caches, and the agents start anew.
func kubernetesSources(l *lab, programs string) {
	ha, hb := l.host("a"), l.host("b")
	m := l.kubeMesh(programs, ha, hb)
	for _, manifest := range l.manifests("kubelets.yaml") {
		if err := m.apply(manifest, ""); err != nil {
			l.Fatal(err)
		}
	}
	server := l.host("d").discovery()
	server.start()
	m.documents = server.newCluster()
	a, b := m.agent(ha, "kubelet-a"), m.agent(hb, "kubelet-b")
	p := pair{a, b}
	for _, n := range p {
		n.flags = append(slices.Clone(n.flags), "--peers-file", n.path("peers.yaml"))
		n.lists()
		n.up()
	}
	l.allUp(a, b)
	a.lists(b)
	b.lists(a)
	p.know("k8s", "service", "static")
	for _, n := range p {
		eventually(l.T, time.Minute+within, func() error { _, err := os.Stat(n.path(state.CacheFile)); return err })
	}

	flow := a.keepsPinging(b)
	server.proc.end(l.T, syscall.SIGKILL)
	p.know("k8s", "static")
	server.start()
	p.know("k8s", "service", "static")
	m.goes(p)
	a.lists()
	b.lists()
	p.know("k8s", "service")
	for _, n := range p {
		hidden := n.path(state.CacheFile) + ".hidden"
		if err := os.Rename(n.path(state.CacheFile), hidden); err != nil {
			l.Fatal(err)
		}
		p.know("k8s", "service")
		if err := os.Rename(hidden, n.path(state.CacheFile)); err != nil {
			l.Fatal(err)
		}
	}
	flow.stop()

	server.proc.end(l.T, syscall.SIGKILL)
	m.stop()
	for _, n := range p {
		n.proc.end(l.T, syscall.SIGKILL)
	}
	a.up()
	b.up()
	took := l.allUp(a, b)
	l.Logf("all up from caches after %s", took.Round(time.Millisecond))
	if took > cachedUpLimit {
		l.Errorf("all up from caches after %s, more than %s", took, cachedUpLimit)
	}
	if known, err := a.peer("b"); err != nil || len(known.Sources) != 1 || known.Sources[0].Source != "cache" {
		l.Errorf("a has b from %+v, %v", known.Sources, err)
	}
	a.pings(b)
}

// pair is two agents that are peers.
type pair [2]*labNode

// know waits until each knows the other from these kinds of sources alone.
func (p pair) know(sources ...string) {
	p[0].Helper()
	eventually(p[0].T, time.Minute, func() error {
		return errors.Join(p[0].hasFrom(p[1], sources), p[1].hasFrom(p[0], sources))
	})
}

// goes takes the API away from a pair, and then the Nodes.
func (m *kubeMesh) goes(p pair) {
	m.Helper()
	m.stop()
	p.know("service", "static")
	m.start()
	p.know("k8s", "service", "static")
	for _, n := range p {
		m.ask(adminToken, http.MethodDelete, "/api/v1/nodes/"+n.name, nil, nil)
	}
	p.know("service", "static")
	for _, n := range p {
		m.addMachine(n.name, n.address)
	}
	p.know("k8s", "service", "static")
}

// lists writes the peers file of a node.
func (n *labNode) lists(peers ...*labNode) {
	n.Helper()
	text := "peers:\n"
	for _, p := range peers {
		own := p.mustStatus().Node
		text += fmt.Sprintf("- {name: %s, publicKey: %s, nodeID: %s, endpoints: [\"%s:%d\"]}\n", p.name, own.PublicKey, own.ID, p.address, own.ListenPort)
	}
	n.write(n.path("peers.yaml"), text)
}

// hasFrom returns an error unless these kinds of sources, and no others, say now what the
// node knows of a peer, which is up.
func (n *labNode) hasFrom(peer *labNode, want []string) error {
	if err := n.sees(peer.name); err != nil {
		return err
	}
	p, err := n.peer(peer.name)
	if err != nil {
		return err
	}
	var have []string
	for _, s := range p.Sources {
		if kind, _, _ := strings.Cut(s.Source, "/"); s.Last.IsZero() {
			have = append(have, kind)
		}
	}
	if slices.Sort(have); !slices.Equal(have, want) {
		return fmt.Errorf("%s has %s from %+v, want %q", n.name, peer.name, p.Sources, want)
	}
	return nil
}
