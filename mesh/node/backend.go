package node

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/tun"
	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
)

// chooseBackend returns the backend of the configuration. If that names none, it returns
// TUN if a TUN interface can be created, and otherwise netstack if this build has it.
func chooseBackend(b config.Backend) (agent.Backend, error) {
	if b == config.BackendNetstack {
		return agent.Backend{Netstack: true}, nil
	}
	err := tun.Available()
	switch {
	case b == config.BackendTUN && err != nil:
		return agent.Backend{}, fmt.Errorf("backend tun: %w (run as root or grant CAP_NET_ADMIN and /dev/net/tun, enable IPv6, or use --backend netstack)", err)
	case b == config.BackendTUN:
		return agent.Backend{}, nil
	case err != nil && !hasNetstack:
		return agent.Backend{}, fmt.Errorf("no TUN interface can be created: %w (run as root or grant CAP_NET_ADMIN and /dev/net/tun, enable IPv6, or install the full build: this is the edge build, which has no netstack)", err)
	case err != nil:
		return agent.Backend{Netstack: true, Reason: "no TUN: " + err.Error()}, nil
	}
	return agent.Backend{Reason: "a TUN interface can be created"}, nil
}

// dataPlane opens devices. With the netstack backend it also dials through the stack.
type dataPlane struct {
	backend  agent.Backend
	name     string // of the interface, which only a restart changes
	log      hclog.Logger
	machine  *Machine
	sockets  bool             // that wg(8) may ask
	opened   func(Stack)      // called with each new netstack; nil: not called
	attached func(netip.Addr) // called with the mesh address of each new data plane
	secrets  *relaySecrets

	mu      sync.Mutex // guards what follows
	ingress ingress
	stack   Stack          // nil: none was opened
	device  *device.Device // likewise
}

// open opens the device of one identity.
func (p *dataPlane) open(self mesh.Identity, c *agent.Effective, mtu int) (agent.Device, error) {
	plane, err := p.plane(self, mtu)
	if err != nil {
		return nil, err
	}
	dev, err := device.Open(device.Config{
		TUN: plane, Bind: p.newBind(), PrivateKey: self.PrivateKey,
		ListenPort: c.ListenPort, FirewallMark: c.Firewall.EncryptedMark, Resolve: p.resolver(c.Firewall.EncryptedMark), Log: p.log,
		Relays: p.relayAccess(c.Firewall.EncryptedMark),
	})
	if err != nil {
		return nil, err
	}
	p.log.Info("data plane open", "backend", p.backend.String(), "reason", p.backend.Reason, "port", dev.ListenPort(), "mtu", mtu)
	p.mu.Lock()
	p.device = dev
	p.mu.Unlock()
	if p.machine.NewStack == nil { // else its connections are the program's own matter
		p.attached(self.Address)
	}
	return &servedDevice{dev, serveUAPI(dev, c, p)}, nil
}

// current returns the device that was opened last; nil if none was.
func (p *dataPlane) current() *device.Device {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.device
}

// plane opens what the device reads packets from and writes them to.
func (p *dataPlane) plane(self mesh.Identity, mtu int) (device.Interface, error) {
	if !p.backend.Netstack {
		return tun.Open(p.name, mtu)
	}
	stack, err := p.newStack(self.Address, mtu)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	stack.SetIngress(p.ingress)
	p.stack = stack
	p.mu.Unlock()
	if p.opened != nil {
		p.opened(stack)
	}
	return stack, nil
}

func (p *dataPlane) newBind() device.Bind {
	if p.machine.NewBind != nil {
		return p.machine.NewBind(p.log)
	}
	return bind.New(p.log)
}

func (p *dataPlane) resolver(mark uint32) func(context.Context, string) ([]netip.Addr, error) {
	if p.machine.Resolve != nil {
		return p.machine.Resolve
	}
	return resolver(mark)
}

func (p *dataPlane) newStack(address netip.Addr, mtu int) (Stack, error) {
	if p.machine.NewStack != nil {
		return p.machine.NewStack(address, mtu)
	}
	return newNetstack(address, mtu)
}

// filter sets the ingress rules of the current netstack and of later ones.
func (p *dataPlane) filter(in firewall.Ingress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ingress = nil
	if m := firewall.NewMatcher(in); m.Restricts() {
		p.ingress = func(source, destination netip.Addr, protocol uint8, port uint16) bool {
			ok, _ := m.Allows(firewall.Flow{Source: source, Destination: destination, Protocol: protocol, DestinationPort: port})
			return ok
		}
	}
	if p.stack != nil {
		p.stack.SetIngress(p.ingress)
	}
}
