package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/nft"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// forwardingFile lists the kernel's settings that forwarding for networks behind
// this node has changed.
const forwardingFile = "forwarding.json"

// kernel is routing and filtering of the TUN backend.
type kernel struct {
	*nft.Firewall
	state   *state.Dir
	memory  *state.Memory
	changed []nft.Sysctl // as forwardingFile has it
}

// openKernel changes nothing. What an earlier agent had applied is known from
// the memory, so that changed numbers leave nothing behind.
func openKernel(st *state.Dir, memory *state.Memory, log hclog.Logger) (*kernel, error) {
	k := &kernel{state: st, memory: memory}
	data, err := st.Read(forwardingFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(data, &k.changed); err != nil {
			return nil, fmt.Errorf("state file %q is damaged: %w (remove it; forwarding then stays as it is now)", st.Path(forwardingFile), err)
		}
	}
	cfg := nft.Config{Log: log}
	if p := memory.Policy(); p.Table != "" {
		cfg.Previous = firewall.Compile(p)
	}
	if k.Firewall, err = nft.Open(cfg); err != nil {
		return nil, err
	}
	return k, nil
}

// Apply makes the kernel route and filter by p. Settings beside that, which a
// hardened service may not be allowed to change, are no reason to hold up peers.
func (k *kernel) Apply(p firewall.Policy) ([]string, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	err := k.Firewall.Apply(firewall.Compile(p))
	warnings := k.Warnings()
	if err != nil {
		return warnings, err
	}
	reverse, err := k.SetReversePath(p.Interface)
	if err != nil {
		warnings = append(warnings, err.Error())
	}
	if reverse.All == 1 {
		warnings = append(warnings, "net.ipv4.conf.all.rp_filter is 1: links drop packets whose way back is not by the same link, such as those of networks with several gateways; 2 checks loosely")
	}
	if err := k.forward(nft.ForwardingSpec{Interface: p.Interface, Networks: p.Forwarded}); err != nil {
		warnings = append(warnings, err.Error())
	}
	return warnings, nil
}

// forward turns forwarding on for networks behind this node, and back to what it
// was when there are none any more.
func (k *kernel) forward(want nft.ForwardingSpec) error {
	if len(want.Networks) == 0 && len(k.changed) == 0 {
		return nil
	}
	changed, err := k.SetForwarding(want, k.changed)
	return errors.Join(err, k.keep(changed))
}

// keep writes down which settings are changed.
func (k *kernel) keep(changed []nft.Sysctl) error {
	if slices.Equal(changed, k.changed) {
		return nil
	}
	k.changed = changed
	if len(changed) == 0 {
		return k.state.Remove(forwardingFile)
	}
	data, err := json.Marshal(changed)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", forwardingFile, err)
	}
	return k.state.Replace(forwardingFile, data)
}

// Remove takes everything back, whoever of us had applied it. Without a memory of
// that there is nothing, and so no need for privileges.
func (k *kernel) Remove() error {
	err := k.Restore(k.changed)
	if err == nil {
		err = k.keep(nil)
	}
	if p := k.memory.Policy(); p.Table != "" {
		err = errors.Join(k.Firewall.Remove(firewall.Compile(p)), err)
	}
	return err
}

// inside is the filter of the netstack backend, which routes nothing.
type inside struct {
	plane  *dataPlane
	remove func() error // takes back what an earlier agent had in the kernel
}

func (i inside) Apply(p firewall.Policy) ([]string, error) {
	if err := p.Ingress.Check(); err != nil {
		return nil, err
	}
	i.plane.filter(p.Ingress)
	return nil, nil
}

func (i inside) Remove() error          { return i.remove() }
func (inside) Changed() <-chan struct{} { return nil }

func (inside) Lookup(firewall.Query, firewall.Policy) (firewall.Explanation, error) {
	return firewall.Explanation{}, errors.New("a netstack asks no kernel")
}

// openFirewall returns what routes and filters for the backend. What an agent had applied
// before that was turned off is taken back. A netstack leaves it alone, for it may
// be there only because a TUN can't be made today.
func (n *Node) openFirewall(plane *dataPlane, memory *state.Memory) (agent.Firewall, *kernel, error) {
	switch {
	case plane.backend.Netstack:
		if memory.Policy().Table != "" {
			n.log.Warn("an earlier agent with the TUN backend has left its rules in the kernel: they refuse what it routed, until wirespan down")
		}
		return inside{plane, func() error { return n.removeRules(memory) }}, nil, nil
	case n.config.Firewall.Enabled:
		k, err := openKernel(n.state, memory, n.log.Named("firewall"))
		return k, k, err
	}
	return nil, nil, n.removeRules(memory)
}

// removeUnremembered takes back, as root, what an agent that kept nothing on disk
// may have left: by what the configuration says, and a cluster id if one is known.
func removeUnremembered(cfg *config.Config, clusterID string, log hclog.Logger) error {
	if os.Geteuid() != 0 {
		return nil
	}
	f, err := nft.Open(nft.Config{Log: log.Named("firewall")})
	if err != nil {
		return err
	}
	p := firewall.Policy{Numbers: cfg.Firewall.Numbers, Interface: cfg.InterfaceName, MTU: mesh.DefaultMTU}
	if clusterID != "" {
		p.Subnet = mesh.ULA(clusterID)
	}
	return errors.Join(f.Remove(firewall.Compile(p)), f.Close())
}

// removeRules takes back what an agent that no longer runs has left in the
// kernel. What can't be removed is not forgotten.
func (n *Node) removeRules(memory *state.Memory) error {
	if memory.Policy().Table == "" {
		return nil
	}
	k, err := openKernel(n.state, memory, n.log.Named("firewall"))
	if err != nil {
		return err
	}
	if err := errors.Join(k.Remove(), k.Close()); err != nil {
		return err
	}
	return memory.ForgetPolicy()
}
