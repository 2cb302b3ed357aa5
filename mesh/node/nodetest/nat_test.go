package nodetest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// Two nodes behind gateways learn each other's mappings from a public node, which
// publishes where it sees them (harvested endpoints). Whether they meet follows from
// the gateways.
func TestNodesBehindGateways(t *testing.T) {
	for name, test := range map[string]struct {
		a, b nodetest.Kind
		meet bool
	}{
		"port-restricted, both":         {nodetest.PortRestricted, nodetest.PortRestricted, true},
		"symmetric, full cone":          {nodetest.Symmetric, nodetest.FullCone, true},
		"symmetric, address-restricted": {nodetest.Symmetric, nodetest.AddressRestricted, true},
		"symmetric, port-restricted":    {nodetest.Symmetric, nodetest.PortRestricted, false},
		"symmetric, both":               {nodetest.Symmetric, nodetest.Symmetric, false},
		"firewall, port-restricted":     {nodetest.Firewall, nodetest.PortRestricted, true},
		"address-restricted, full cone": {nodetest.AddressRestricted, nodetest.FullCone, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := nodetest.New(t)
				public := m.Start(m.Internet().Host("198.51.100.1"), nodetest.Harvest)
				a := m.Start(behind(m, test.a, "1"), nodetest.Harvest)
				b := m.Start(behind(m, test.b, "2"), nodetest.Harvest)
				m.Await(10*time.Minute, "both see the public node", func() bool {
					return nodetest.AllUp(public, a) && nodetest.AllUp(public, b)
				})
				if test.meet {
					m.Await(time.Hour, "they meet", func() bool { return nodetest.AllUp(a, b) })
					if !a.Reaches(b) || !b.Reaches(a) {
						t.Error("they are up and don't reach each other")
					}
					return
				}
				for range 10 {
					time.Sleep(time.Minute)
					if a.Up(b) || b.Up(a) {
						t.Fatal("they met, which such gateways do not allow without a relay")
					}
				}
			})
		})
	}
}

// behind returns a host behind a gateway. The last byte of its public address is n.
func behind(m *nodetest.Mesh, kind nodetest.Kind, n string) *nodetest.Host {
	if kind == nodetest.Firewall {
		return m.Internet().Behind(kind).Host("203.0.113." + n)
	}
	return m.Internet().Behind(kind, "203.0.113."+n).Host("192.168." + n + ".2")
}
