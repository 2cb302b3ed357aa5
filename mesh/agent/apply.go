package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

const (
	conditionHandshakes mesh.ConditionType = "HandshakesLimited"
)

// droppedTime is how long a condition tells of what the device drops.
const droppedTime = 2 * time.Minute

// plane is the data plane: the device, and what is known to be in it.
type plane struct {
	device     Device // nil: the mesh is off, or it could not be opened
	stats      []mesh.PeerStats
	peers      []mesh.PeerConfig // as last applied; nil: apply them all again
	configured bool              // the link's settings were applied in this full pass
	dropped    counter           // of initiations
	returned   counter           // of encrypted packets
}

// counter is what the device has counted, and when it last was more.
type counter struct {
	n  uint64
	at time.Time
}

// grew takes over a count, and reports whether it grew in the last droppedTime.
func (c *counter) grew(n uint64, now time.Time) bool {
	if n != c.n {
		c.n, c.at = n, now
	}
	return !c.at.IsZero() && now.Sub(c.at) < droppedTime
}

// routing is what the loop knows of the firewall.
type routing struct {
	applied  firewall.Policy // the last
	compiled firewall.Ruleset
	current  bool // applied is in place, as far as is known
	removed  bool // nothing is in place
	changed  bool // applied is another than at the end of the last pass
	keeping  settling
	warnings []mesh.Condition
}

// apply makes firewall and device fit the plan. During the change everything is
// routed that is routed before or after it, so that no packet leaves in the clear.
func (a *Agent) apply(plan *mesh.Plan) error {
	if a.plane.device == nil {
		return nil
	}
	// The link comes first: routes need one that is up and has its name. New peers get
	// nothing before the firewall is in place.
	configured := a.configure()
	if errors.Is(configured, mesh.ErrNameTaken) {
		// Out go no packets: routes know the link by its index, and the guard by its name.
		// For those that come in, the ingress rules would not see that they do by the tunnel.
		a.plane.peers = nil
		return errors.Join(configured, a.plane.device.Apply(nil))
	}
	policy := a.policy(plan)
	during := policy
	during.Routed = union(policy.Routed, a.routing.applied.Routed)
	a.keepMore(&during)
	if err := a.route(during); err != nil {
		return errors.Join(configured, err)
	}
	if configured != nil {
		return configured
	}
	if err := a.applyPeers(plan); err != nil {
		return err
	}
	return a.route(policy)
}

// route applies a policy, unless it is in place.
func (a *Agent) route(p firewall.Policy) error {
	r := &a.routing
	if a.cfg.Firewall != nil {
		p.Lacks = a.cfg.Firewall.Lacks() // an Apply since the policy was made may have found out
	}
	same := samePolicy(&r.applied, &p)
	if a.cfg.Firewall == nil || r.current && same {
		return nil
	}
	r.current, r.removed = false, false
	warnings, err := a.cfg.Firewall.Apply(p)
	r.warnings = warnings
	if errors.Is(err, firewall.ErrUnfiltered) { // peers would reach what the rules refuse
		a.plane.peers = nil
		err = errors.Join(err, a.plane.device.Apply(nil))
	}
	if err != nil {
		return fmt.Errorf("routing and firewall: %w", err)
	}
	p.Lacks = a.cfg.Firewall.Lacks()
	r.applied, r.compiled, r.current = p, firewall.Compile(p), true
	r.changed = r.changed || !same
	return nil
}

// configure applies the link's settings, unless they are in place.
func (a *Agent) configure() error {
	if a.plane.configured {
		return nil
	}
	addr := netip.PrefixFrom(a.self.Address, a.self.Subnet.Bits())
	err := a.plane.device.Configure(a.host.mtu, []netip.Prefix{addr})
	a.plane.configured = err == nil
	return err
}

// applyPeers applies the peers, unless they are in place.
func (a *Agent) applyPeers(plan *mesh.Plan) error {
	if a.host.moved {
		a.host.moved = false
		defer a.plane.device.HostChanged()
	}
	if a.plane.peers != nil && equal(a.plane.peers, plan.Peers, sameConfig) {
		return nil
	}
	a.plane.peers = nil
	if err := a.plane.device.Apply(plan.Peers); err != nil {
		return err
	}
	a.plane.peers = plan.Peers
	return nil
}

// unroute removes what this agent, or an earlier one, has applied.
func (a *Agent) unroute() error {
	if a.cfg.Firewall == nil || a.routing.removed {
		return nil
	}
	if err := a.cfg.Firewall.Remove(); err != nil {
		return fmt.Errorf("removing routing and firewall: %w", err)
	}
	a.routing = routing{removed: true}
	return a.cfg.Memory.ForgetPolicy()
}

// prepare makes identity and device fit the configuration: a device is open
// exactly while the mesh is on.
func (a *Agent) prepare() error {
	if err := a.identify(); err != nil {
		return err
	}
	if a.withdrawn() {
		a.closeDevice() // what is routed stays routed, so that nothing leaves in the clear
		return nil
	}
	if !a.config.KubeSpan.Enabled {
		a.closeDevice()
		return a.unroute()
	}
	if a.plane.device != nil {
		return nil
	}
	dev, err := a.cfg.OpenDevice(a.self, a.config, a.host.mtu)
	if err != nil {
		return fmt.Errorf("opening the device: %w", err)
	}
	a.plane.device, a.plane.peers, a.plane.configured, a.plane.dropped.n, a.plane.returned.n = dev, nil, false, 0, 0
	a.live.Store(&dev)
	return nil
}

// closeDevice ends the data plane, and returns its memory.
func (a *Agent) closeDevice() {
	if a.plane.device == nil {
		return
	}
	a.live.Store(nil)
	if err := a.plane.device.Close(); err != nil {
		a.log.Warn("closing the device", "error", err)
	}
	a.plane.device, a.plane.peers = nil, nil
	// Packet buffers live in pools, which let go of them at the second collection.
	runtime.GC()
	debug.FreeOSMemory()
}

// readStats reads the device's statistics. If that fails it returns the last ones:
// a peer without statistics would count as lost by the device.
func (a *Agent) readStats() ([]mesh.PeerStats, error) {
	if a.plane.device == nil {
		a.plane.stats = nil
		return nil, nil
	}
	stats, err := a.plane.device.Stats()
	if err == nil {
		a.plane.stats = stats
	}
	return a.plane.stats, err
}

// attempts returns what the device has lately sent to whom.
func (a *Agent) attempts() []mesh.Attempt {
	if a.plane.device == nil {
		return nil
	}
	return a.plane.device.Attempts()
}

// routingConditions returns what the firewall warns of.
func (a *Agent) routingConditions() []mesh.Condition {
	var out []mesh.Condition
	if err := a.routing.keeping.err; err != nil {
		out = append(out, mesh.Condition{Type: conditionMemory, Subject: state.PolicyFile, Message: err.Error()})
	}
	return append(out, a.routing.warnings...)
}

// fragmented returns a condition for each host to which the tunnel's packets
// are too large for the path.
func (a *Agent) fragmented() []mesh.Condition {
	if a.plane.device == nil {
		return nil
	}
	var conditions []mesh.Condition
	for _, host := range a.plane.device.Fragmented() {
		conditions = append(conditions, mesh.Condition{
			Type: conditionMTU, Subject: host.String(),
			Message: "the route to this host takes no packets as large as the tunnel's: they are fragmented and sent one by one, which is slow; set a smaller kubespan.mtu on all nodes",
		})
	}
	return conditions
}

// dropped returns a condition if initiations were dropped lately.
func (a *Agent) dropped(now time.Time) []mesh.Condition {
	p := &a.plane
	if p.device == nil || !p.dropped.grew(p.device.DroppedInitiations(), now) {
		return nil
	}
	return []mesh.Condition{{
		Type: conditionHandshakes, Subject: "handshakes",
		Message: fmt.Sprintf("%d handshakes were not started: too many nodes do not answer; they are tried more slowly; if you do not know these nodes, a member makes them up", p.dropped.n),
	}}
}

// returned returns a condition if the host lately routed the device's own packets back
// into it.
func (a *Agent) returned(now time.Time) []mesh.Condition {
	p := &a.plane
	if p.device == nil || !p.returned.grew(p.device.Returned(), now) {
		return nil
	}
	return []mesh.Condition{{
		Type: mesh.ConditionMarkRewritten, Subject: "tunnel",
		Message: fmt.Sprintf("this host routed %d encrypted packets back into the tunnel, which dropped them: another program changes their mark, or a route or rule leads to peers' endpoints by %s; see ip rule, ip route show table all and nft list ruleset", p.returned.n, a.first.InterfaceName),
	}}
}
