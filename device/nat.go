package device

import (
	"context"
	"net/netip"

	"github.com/wirespan/wirespan/device/nat"
	"github.com/wirespan/wirespan/mesh"
)

// newProber returns what learns the mapped addresses of the device's port.
func (d *Device) newProber(resolve func(ctx context.Context, host string) ([]netip.Addr, error)) *nat.Prober {
	p := nat.New(nat.Config{Send: d.engine.SendSTUN, Resolve: resolve, Changed: d.events.Notify})
	d.engine.TakeSTUN(p.Received, p.Doubt)
	return p
}

// SetSTUN says how to learn the device's mapped addresses, and whether it answers STUN
// binding requests at its own port.
func (d *Device) SetSTUN(s mesh.STUN) {
	d.engine.AnswerSTUN(s.Answer)
	d.nat.Set(s, d.ListenPort())
}

// Mapped returns the addresses of NATs at which others reach the device's port.
func (d *Device) Mapped() []netip.AddrPort { return d.nat.Mapped() }

// Translation says whether a NAT stands between the device's port and the internet, for IPv4.
func (d *Device) Translation() mesh.Translation { return d.nat.Translation() }

// Mapping returns how a NAT maps the device's port, for IPv4; mesh.BehaviourUnknown if no server
// has answered lately.
func (d *Device) Mapping() mesh.Behaviour { return d.nat.Mapping() }

// CheckNAT finds out about the NATs in front of the device's port. It takes seconds.
func (d *Device) CheckNAT(ctx context.Context) mesh.NATCheck { return d.nat.Check(ctx) }
