package nodetest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// Two nodes behind NATs learn their mapped addresses by STUN from a public member, and
// meet unless one NAT is symmetric and the other lets in only whom it knows.
func TestTableOfNATs(t *testing.T) {
	kinds := []struct {
		name string
		kind nodetest.Kind
	}{
		{"none", nodetest.Firewall + 1},
		{"full cone", nodetest.FullCone},
		{"port-restricted", nodetest.PortRestricted},
		{"symmetric", nodetest.Symmetric},
	}
	var table strings.Builder
	for i, a := range kinds {
		fmt.Fprintf(&table, "\n%-16s", a.name)
		for _, b := range kinds[:i+1] {
			impossible := slices.Contains([]string{a.name, b.name}, "symmetric") &&
				(a.name == b.name || slices.Contains([]string{a.name, b.name}, "port-restricted"))
			synctest.Test(t, func(t *testing.T) {
				m := nodetest.New(t)
				m.Start(m.Internet().Host("198.51.100.1"), nodetest.KubeSpan, answersSTUN)
				start := time.Now()
				one, two := m.Start(at(m, a.kind, "1"), nodetest.KubeSpan, asksSTUN), m.Start(at(m, b.kind, "2"), nodetest.KubeSpan, asksSTUN)
				met := func() bool { return nodetest.AllUp(one, two) }
				if impossible {
					time.Sleep(time.Minute)
					if met() {
						t.Errorf("%s and %s met, which such NATs do not allow without a relay", a.name, b.name)
					}
					fmt.Fprintf(&table, "%10s", "-")
					return
				}
				m.Await(5*time.Second, a.name+" and "+b.name+" meet", met)
				fmt.Fprintf(&table, "%10s", time.Since(start).Round(time.Millisecond))
				if !one.Reaches(two) || !two.Reaches(one) {
					t.Errorf("%s and %s are up and don't reach each other", a.name, b.name)
				}
			})
		}
	}
	t.Logf("time until both are up; -: not within a minute%s", table.String())
}

const (
	answersSTUN = "apiVersion: v1alpha1\nkind: WirespanConfig\nanswerStun: true\n"
	asksSTUN    = "apiVersion: v1alpha1\nkind: WirespanConfig\nstunServers: [198.51.100.1:51820]\n"
)

// at returns a host that is public, or behind a gateway of a kind.
func at(m *nodetest.Mesh, kind nodetest.Kind, n string) *nodetest.Host {
	if kind > nodetest.Firewall {
		return m.Internet().Host("203.0.113." + n)
	}
	return behind(m, kind, n)
}

// A gateway restarts, and the node behind it gets another outside port. It learns that by
// STUN and publishes it, so that a peer behind another NAT, which lets in only whom it
// knows, sends there.
func TestMappingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		m.Start(m.Internet().Host("198.51.100.1"), nodetest.KubeSpan, answersSTUN)
		home := m.Internet().Behind(nodetest.PortRestricted, "203.0.113.1")
		a := m.Start(home.Host("192.168.1.2"), nodetest.KubeSpan, asksSTUN)
		b := m.Start(behind(m, nodetest.PortRestricted, "2"), nodetest.KubeSpan, asksSTUN)
		m.Await(5*time.Second, "both up", func() bool { return nodetest.AllUp(a, b) })
		if !a.Reaches(b) {
			t.Fatal("a does not reach b")
		}
		for range 3 {
			time.Sleep(time.Minute)
			home.Rebind()
			m.Await(8*time.Second, "a reaches b again", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := a.Ping(ctx, b.Address(), 0)
				return err == nil
			})
			if !b.Reaches(a) {
				t.Error("b does not reach a")
			}
		}
	})
}

// A node that moves to another network is announced at its new mapped address.
func TestMappedAddressFollowsTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		public := m.Start(m.Internet().Host("198.51.100.1"), nodetest.KubeSpan, answersSTUN)
		a := m.Start(behind(m, nodetest.PortRestricted, "1"), nodetest.KubeSpan, asksSTUN)
		announced := func(endpoint string) func() bool {
			return func() bool {
				specs, _ := public.Resources().List("KubeSpanPeerSpecs.kubespan.talos.dev", "", false)
				return len(specs) == 1 && strings.Contains(string(specs[0].Spec), endpoint)
			}
		}
		m.Await(5*time.Second, "the mapped address is announced", announced(`"203.0.113.1:49153"`))
		a.Move("192.168.1.3")
		m.Await(5*time.Second, "the new mapped address is announced", announced(`"203.0.113.1:49154"`))
	})
}
