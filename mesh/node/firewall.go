package node

import (
	"encoding/json"
	"errors"
	"fmt"
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

// forwardingFile lists the sysctls that were changed to forward for networks behind this
// node, with their previous values.
const forwardingFile = "forwarding.json"

// kernel implements routing and filtering for the TUN backend.
type kernel struct {
	*nft.Firewall
	state   *state.Dir
	memory  *state.Memory
	changed []nft.Sysctl // the content of forwardingFile
	lost    lostMarks
	lacks   firewall.Lacks // of the last policy
}

// openKernel opens the kernel's firewall and changes nothing. The memory holds the last
// policy of an earlier agent, so that its objects are removed even if the configured
// numbers have changed.
func openKernel(st *state.Dir, memory *state.Memory, log hclog.Logger) (*kernel, error) {
	k := &kernel{state: st, memory: memory}
	k.changed = state.Derived[[]nft.Sysctl](memory, forwardingFile, "forwarding stays as it is now", nil)
	cfg := nft.Config{Log: log}
	if p := memory.Policy(); p.Table != "" {
		cfg.Previous = firewall.Compile(p)
	}
	var err error
	if k.Firewall, err = nft.Open(cfg); err != nil {
		return nil, err
	}
	return k, nil
}

// Apply makes the kernel route and filter by p. If it cannot change a sysctl, as in a
// hardened service, it returns a warning instead of an error, so that peers are not
// delayed.
func (k *kernel) Apply(p firewall.Policy) ([]mesh.Condition, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	p, err := k.ApplyPolicy(p)
	k.lacks = p.Lacks
	warnings := k.Warnings()
	if err != nil {
		return append(conditions(warnings), losses(p)...), err
	}
	reverse, err := k.SetReversePath(p.Interface)
	if err != nil {
		warnings = append(warnings, err.Error())
	}
	if reverse.All == 1 {
		warnings = append(warnings, "net.ipv4.conf.all.rp_filter is 1: a link drops packets if the route to their source is by another link, as for networks with several gateways; 2 checks loosely")
	}
	if nft.IPv6Disabled("lo") {
		warnings = append(warnings, "IPv6 is disabled on lo: programs of this host do not reach its own mesh address; peers do (sysctl -w net.ipv6.conf.lo.disable_ipv6=0 enables it)")
	}
	if err := k.forward(nft.ForwardingSpec{Interface: p.Interface, Networks: p.Forwarded}); err != nil {
		warnings = append(warnings, err.Error())
	}
	var found []mesh.Condition
	for _, look := range []func(firewall.Policy) ([]mesh.Condition, error){k.lostMarks, k.hostDrops, k.misrouted, k.strictLinks, k.vrfs} {
		c, err := look(p)
		found = append(found, c...)
		if err != nil {
			warnings = append(warnings, err.Error())
		}
	}
	return append(append(conditions(warnings), losses(p)...), found...), nil
}

// Lacks returns what the kernel lacks of what the last policy needed.
func (k *kernel) Lacks() firewall.Lacks { return k.lacks }

// losses returns a condition for each part of the kernel that the policy has to do without.
func losses(p firewall.Policy) []mesh.Condition {
	var out []mesh.Condition
	for _, l := range p.Losses() {
		out = append(out, mesh.Condition{Type: mesh.ConditionKernelLacks, Subject: string(l.Feature), Message: l.Message})
	}
	return out
}

// conditions returns a condition for each warning.
func conditions(warnings []string) []mesh.Condition {
	var out []mesh.Condition
	for i, w := range warnings {
		out = append(out, mesh.Condition{Type: "Firewall", Subject: fmt.Sprintf("warning %d", i+1), Message: w})
	}
	return out
}

// forward turns forwarding on for networks behind this node, and restores the previous
// settings when there are none any more.
func (k *kernel) forward(want nft.ForwardingSpec) error {
	if len(want.Networks) == 0 && len(k.changed) == 0 {
		return nil
	}
	changed, err := k.SetForwarding(want, k.changed)
	return errors.Join(err, k.keep(changed))
}

// keep stores which sysctls are changed.
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

// Remove removes everything that this or an earlier agent applied. Without a stored policy
// it does nothing that needs privileges.
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

// inside implements filtering for the netstack backend, which does not route.
type inside struct {
	plane  *dataPlane
	remove func() error // removes what an earlier agent applied to the kernel
}

func (i inside) Apply(p firewall.Policy) ([]mesh.Condition, error) {
	if err := p.Ingress.Check(); err != nil {
		return nil, err
	}
	i.plane.filter(p.Ingress)
	return nil, nil
}

func (i inside) Remove() error          { return i.remove() }
func (inside) Changed() <-chan struct{} { return nil }
func (inside) Lacks() firewall.Lacks    { return nil }

func (inside) Lookup(firewall.Query, firewall.Policy) (firewall.Explanation, error) {
	return firewall.Explanation{}, errors.New("the netstack backend does not use the kernel")
}

// openFirewall returns the firewall of the backend, or nil if it is turned off; then it
// removes what an earlier agent applied. The netstack backend does not remove that: it may
// have been chosen only because no TUN interface can be created at the moment.
func (n *Node) openFirewall(plane *dataPlane, memory *state.Memory) (agent.Firewall, *kernel, error) {
	switch {
	case plane.backend.Netstack:
		if memory.Policy().Table != "" {
			n.log.Warn("an earlier agent with the TUN backend left its rules in the kernel: until wirespan down they refuse the traffic that it routed")
		}
		return inside{plane, func() error { return n.removeRules(memory) }}, nil, nil
	case n.config.Firewall.Enabled:
		if memory.IsDamaged(state.PolicyFile) {
			p, err := assumed(n.config, n.clusterID(), n.log)
			if err != nil {
				n.log.Warn("reading what an earlier agent routed", "error", err)
			}
			memory.Assume(p)
		}
		k, err := openKernel(n.state, memory, n.log.Named("firewall"))
		if err != nil {
			return k, k, err
		}
		if !n.config.KubeSpan.Enabled {
			return k, k, nil
		}
		return k, k, k.probe(n.config)
	}
	return nil, nil, n.removeRules(memory)
}

// probe finds out what the kernel lacks of what the configuration needs. It returns an
// error if there are ingress rules that the kernel cannot enforce.
func (k *kernel) probe(cfg *config.Config) error {
	p := implied(cfg, "")
	p.Ingress.Default, p.Ingress.Rules = cfg.Ingress.Default, make([]firewall.IngressRule, len(cfg.Ingress.Rules))
	var err error
	if p.Lacks, err = k.Probe(p.Needs()); err != nil {
		return err
	}
	k.lacks = p.Lacks
	return p.Enforceable()
}

// implied returns the policy of an agent of which only the configuration is known, with
// every rule that there may be: this host may have had no default route.
func implied(cfg *config.Config, clusterID string) firewall.Policy {
	p := firewall.Policy{
		Numbers: cfg.Firewall.Numbers, Interface: cfg.InterfaceName, MTU: mesh.DefaultMTU,
		NoDefault4: true, NoDefault6: true,
	}
	if clusterID != "" {
		p.Subnet = mesh.ULA(clusterID)
	}
	return p
}

// assumed returns the policy that an earlier agent is assumed to have applied if the
// stored one is damaged: the configuration's numbers, with the networks that the kernel
// still routes into the tunnel.
func assumed(cfg *config.Config, clusterID string, log hclog.Logger) (firewall.Policy, error) {
	p := implied(cfg, clusterID)
	f, err := nft.Open(nft.Config{Log: log.Named("firewall")})
	if err != nil {
		return p, err
	}
	p.Routed, err = f.Routed(p.Table, p.Interface)
	return p, errors.Join(err, f.Close())
}

// removeUnremembered removes, as root, what an agent with its state in memory may have
// applied. It derives that from the configuration and, if known, the cluster id.
func removeUnremembered(cfg *config.Config, clusterID string, log hclog.Logger) error {
	if os.Geteuid() != 0 {
		return nil
	}
	f, err := nft.Open(nft.Config{Log: log.Named("firewall")})
	if err != nil {
		return err
	}
	return errors.Join(f.Remove(firewall.Compile(implied(cfg, clusterID))), f.Close())
}

// removeRules removes what an agent that no longer runs applied to the kernel. It forgets
// the policy only if that succeeds.
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
