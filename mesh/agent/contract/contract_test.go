package contract

import (
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/agent/agenttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFakeDevice(t *testing.T) {
	Device(t, func(*testing.T) DeviceCase {
		dev, p := agenttest.NewDevice(), silentPeer(9)
		dev.Live[p.Endpoint] = true
		return DeviceCase{dev, netip.MustParsePrefix("fd00::1/64"), p}
	})
}

func TestFakeRegistry(t *testing.T) {
	Registry(t, func(*testing.T) RegistryCase {
		r := agenttest.NewRegistry("")
		var members []mesh.Affiliate
		return RegistryCase{
			Registry: r, Self: member("self"),
			Join: func(_ *testing.T, a mesh.Affiliate) {
				members = append(members, a)
				r.Find(members...)
			},
			Published: func(*testing.T) (mesh.Affiliate, bool) {
				_, deleted := r.State()
				return r.Last().Affiliate, deleted == 0
			},
		}
	})
}

func TestFakeFirewall(t *testing.T) {
	Firewall(t, func(*testing.T) FirewallCase {
		f := agenttest.NewFirewall()
		return FirewallCase{Firewall: f, Interface: "wirespan0", Damage: func(*testing.T) {
			f.With(func() { f.Policy = nil })
			f.Disturbed.Notify()
		}}
	})
}

func TestFakeHost(t *testing.T) {
	Host(t, func(*testing.T) (agent.Host, func(*testing.T)) {
		h := agenttest.NewHost()
		return h, func(*testing.T) {
			h.Change(func() {
				link := h.LinkList[0]
				link.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.99/24")}
				h.LinkList = []mesh.Link{link}
			})
		}
	})
}
