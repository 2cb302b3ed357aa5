package nodetest_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/node/nodetest"
	"github.com/wirespan/wirespan/mesh/state"
)

// rotating changes the key after some ten minutes.
const rotating = "keyRotation: 10m\n"

// traffic is pings from one node to another, and counts those without a reply.
type traffic struct {
	sent, lost atomic.Int64
	cancel     context.CancelFunc
	senders    sync.WaitGroup
}

func startTraffic(t *testing.T, interval time.Duration, from, to *nodetest.Node) *traffic {
	t.Helper()
	const patience = 2 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	f := &traffic{cancel: cancel}
	ping := func() {
		limit, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		f.sent.Add(1)
		if _, err := from.Ping(limit, to.Address(), 56); err != nil {
			f.lost.Add(1)
		}
	}
	f.senders.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				f.senders.Go(ping)
			}
		}
	})
	return f
}

// stop waits for the last replies.
func (f *traffic) stop() (sent, lost int64) {
	f.cancel()
	f.senders.Wait()
	return f.sent.Load(), f.lost.Load()
}

// all starts traffic between all pairs of nodes, both ways.
func all(t *testing.T, interval time.Duration, nodes ...*nodetest.Node) (flows []*traffic) {
	t.Helper()
	for _, from := range nodes {
		for _, to := range nodes {
			if from != to {
				flows = append(flows, startTraffic(t, interval, from, to))
			}
		}
	}
	return flows
}

// rotates waits until a node has changed its key and the others know that. Meanwhile
// nobody must go down.
func rotates(t *testing.T, m *nodetest.Mesh, n *nodetest.Node, others ...*nodetest.Node) {
	t.Helper()
	before := n.Status().Node.PublicKey
	m.Await(20*time.Minute, "the others know a new key", func() bool {
		if !nodetest.AllUp(append(others, n)...) {
			t.Fatal("a peer went down")
		}
		key := n.Status().Node.PublicKey
		return key != before && know(n, others...)
	})
}

// rotatingNode starts a node with a setting, and with a state directory or an empty one.
func rotatingNode(m *nodetest.Mesh, h *nodetest.Host, setting, dir string) *nodetest.Node {
	b := m.Box()
	b.Settings = setting
	if dir != "" {
		b.Dir = dir
	}
	return m.Boot(b, h)
}

// know reports whether the others have the present key of a node.
func know(n *nodetest.Node, others ...*nodetest.Node) bool {
	for _, o := range others {
		if p, _ := o.Peer(n); p.PublicKey != n.Status().Node.PublicKey {
			return false
		}
	}
	return true
}

// A node changes its key while it and its peers send to each other, one of them behind
// a NAT and one far away: none of their packets is lost, and nobody goes down.
func TestKeyRotation(t *testing.T) {
	for _, tc := range []struct{ delay, interval time.Duration }{
		{nodetest.DefaultDelay, 5 * time.Millisecond},
		{16 * nodetest.DefaultDelay, 20 * time.Millisecond}, // longer than by the hub; and only 64 pings may be under way
	} {
		t.Run(tc.delay.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { rotateInTraffic(t, tc.delay, tc.interval) })
		})
	}
}

func rotateInTraffic(t *testing.T, delay, interval time.Duration) {
	m := nodetest.New(t)
	home := m.Internet().Behind(nodetest.PortRestricted, "203.0.113.1")
	far := m.Internet().Host("192.0.2.2")
	far.SetLine(nodetest.Line{Delay: delay})
	a := rotatingNode(m, m.Internet().Host("192.0.2.1"), rotating, "")
	b, c := m.Start(far), m.Start(home.Host("192.168.0.2"))
	m.Await(time.Minute, "all up", func() bool { return nodetest.AllUp(a, b, c) })
	time.Sleep(9 * time.Minute)
	flows := all(t, interval, a, b, c)
	rotates(t, m, a, b, c)
	time.Sleep(time.Minute)
	for i, f := range flows {
		if sent, lost := f.stop(); lost != 0 || sent < 1000 {
			t.Errorf("flow %d: %d of %d pings lost", i, lost, sent)
		}
	}
}

// All nodes change their keys again and again, and are due at about the same time.
func TestKeyRotationsMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		const settings = "keyRotation: 10s\n"
		a, b := rotatingNode(m, m.Internet().Host("192.0.2.1"), settings, ""), rotatingNode(m, m.Internet().Host("192.0.2.2"), settings, "")
		c := rotatingNode(m, m.Internet().Host("192.0.2.3"), settings, "")
		m.Await(time.Minute, "all up", func() bool { return nodetest.AllUp(a, b, c) })
		time.Sleep(time.Minute)
		flows := all(t, 5*time.Millisecond, a, b, c)
		for range 3 {
			before := a.Status().Node.PublicKey
			m.Await(time.Minute, "the next key", func() bool { return a.Status().Node.PublicKey != before })
		}
		for i, f := range flows {
			if sent, lost := f.stop(); lost != 0 {
				t.Errorf("flow %d: %d of %d pings lost", i, lost, sent)
			}
		}
	})
}

// A node ends at any moment of a change. When it is back it has one key, which its record
// names, and everybody reaches it.
func TestKeyRotationCrash(t *testing.T) {
	for name, at := range map[string]struct {
		after time.Duration // the next key was made
		then  func(t *testing.T, dir string)
	}{
		"announced":              {after: 0},
		"others are prepared":    {after: nodetest.HubDelay + 10*time.Millisecond},
		"handshakes are on":      {after: 2*nodetest.HubDelay + 10*time.Millisecond},
		"changed, not announced": {after: 2*nodetest.HubDelay + 30*time.Millisecond},
		"announced anew":         {after: time.Second},
		"changed on disk alone":  {then: switchKey},
		"changed, not noted": {then: func(t *testing.T, dir string) {
			path := filepath.Join(dir, state.RotationFile)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			switchKey(t, dir)
			if err := os.WriteFile(path, before, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				m := nodetest.New(t)
				a := rotatingNode(m, m.Internet().Host("192.0.2.1"), rotating, dir)
				b, c := m.Start(m.Internet().Host("192.0.2.2")), m.Start(m.Internet().Host("192.0.2.3"))
				m.Await(time.Minute, "all up", func() bool { return nodetest.AllUp(a, b, c) })
				m.Await(20*time.Minute, "a next key", func() bool {
					data, err := os.ReadFile(filepath.Join(dir, state.RotationFile))
					return err == nil && strings.Contains(string(data), "Next")
				})
				time.Sleep(at.after)
				a.Stop()
				if at.then != nil {
					at.then(t, dir)
				}
				time.Sleep(time.Second)
				a = m.Boot(a.Box, a.Host)
				m.Await(2*time.Minute, "all reach it", func() bool {
					return nodetest.AllUp(a, b, c) && know(a, b, c) && a.Reaches(b) && c.Reaches(a)
				})
				identity, err := os.ReadFile(filepath.Join(dir, mesh.KubeSpanIdentityFile))
				if err != nil || !strings.Contains(string(identity), a.Status().Node.PublicKey.String()) {
					t.Errorf("the node has another key than its file, %v", err)
				}
				time.Sleep(10 * time.Minute) // another one
				m.Await(2*time.Minute, "all reach it after another change", func() bool {
					return nodetest.AllUp(a, b, c) && know(a, b, c) && a.Reaches(b) && c.Reaches(a)
				})
			})
		})
	}
}

// switchKey makes the next key in a state directory the present one.
func switchKey(t *testing.T, dir string) {
	t.Helper()
	st, err := state.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := state.OpenRotation(st, mesh.NewPrivateKey([32]byte{1}))
	if err == nil {
		_, err = keys.Switch(time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A Talos node does not prepare, and does not hold up the others. What is sent to it waits
// until it has read the record, or is lost if that takes long. A node with an id in its form changes no key itself.
func TestKeyRotationWithTalos(t *testing.T) {
	dir := t.TempDir()
	id := mesh.EncodeNodeIdentity(mesh.NodeIDFromBytes([32]byte{1}))
	if err := os.WriteFile(filepath.Join(dir, mesh.NodeIdentityFile), id, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		host := m.Internet().Host("192.0.2.3")
		host.SkipNextKeys()
		a, b := rotatingNode(m, m.Internet().Host("192.0.2.1"), rotating, ""), m.Start(m.Internet().Host("192.0.2.2"))
		talos := rotatingNode(m, host, rotating, dir)
		m.Await(time.Minute, "all up", func() bool { return nodetest.AllUp(a, b, talos) })
		time.Sleep(9 * time.Minute)
		key, before := talos.Status().Node.PublicKey, a.Status().Node.PublicKey
		flow := startTraffic(t, 5*time.Millisecond, a, b)
		to, from := startTraffic(t, 5*time.Millisecond, a, talos), startTraffic(t, 5*time.Millisecond, talos, a)
		m.Await(10*time.Minute, "the others know another key", func() bool {
			return a.Status().Node.PublicKey != before && know(a, b, talos)
		})
		m.Await(time.Minute, "all up again", func() bool { return nodetest.AllUp(a, b, talos) })
		if sent, lost := flow.stop(); lost != 0 {
			t.Errorf("%d of %d pings between the others lost", lost, sent)
		}
		for way, f := range map[string]*traffic{"to": to, "from": from} {
			sent, lost := f.stop()
			t.Logf("%d of %d pings %s the node in Talos' form lost", lost, sent, way)
			if lost > 400 {
				t.Errorf("pings of %d ms lost", 5*lost)
			}
		}
		time.Sleep(10 * time.Minute)
		if talos.Status().Node.PublicKey != key || !talos.Reaches(a) || !a.Reaches(talos) {
			t.Error("the node in Talos' form has changed its key, or does not reach the other")
		}
	})
}

// Without discovery nobody can prepare: the key stays.
func TestNoKeyRotationWithoutDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		a, b := rotatingNode(m, m.Internet().Host("192.0.2.1"), rotating, ""), m.Start(m.Internet().Host("192.0.2.2"))
		m.Await(time.Minute, "all up", func() bool { return nodetest.AllUp(a, b) })
		m.Hub.SetAway(true)
		before := a.Status().Node.PublicKey
		time.Sleep(time.Hour)
		if a.Status().Node.PublicKey != before || !a.Reaches(b) {
			t.Error("the key has changed, or the peer is lost")
		}
		m.Hub.SetAway(false)
		rotates(t, m, a, b)
	})
}
