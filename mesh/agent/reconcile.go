package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

const (
	retryInitial = time.Second

	conditionApply  mesh.ConditionType = "ApplyFailed"
	conditionHost   mesh.ConditionType = "HostUnknown"
	conditionData   mesh.ConditionType = "DiscoveryData"
	conditionMTU    mesh.ConditionType = "UnderlayMTU"
	conditionMemory mesh.ConditionType = "StateNotWritten"
)

// reconcile looks at everything once, decides, applies and shows. It returns
// for how long the result holds if nothing happens.
func (a *Agent) reconcile(now time.Time) time.Duration {
	if !now.Before(a.nextFull) {
		a.stale, a.nextFull = true, now.Add(mesh.ReconcileInterval)
	}
	a.full = a.stale
	if a.full { // read and apply everything anew, which heals what others changed
		a.stale, a.links, a.configured, a.applied, a.routing.current = false, nil, false, nil, false
	}
	var conditions []mesh.Condition
	report := func(typ mesh.ConditionType, subject string, err error) {
		if err != nil {
			conditions = append(conditions, mesh.Condition{Type: typ, Subject: subject, Message: err.Error()})
		}
	}
	report(conditionHost, "links", a.observe())
	prepared := a.prepare()
	report(conditionApply, "device", prepared)
	conditions = append(conditions, a.syncRegistries()...)

	affiliates, public, problems := a.discovered()
	conditions = append(conditions, problems...)
	stats, statsErr := a.readStats()
	report(conditionApply, "device", statsErr)

	plan := mesh.Decide(mesh.Input{
		Config: a.meshConfig(), Self: a.self, Host: a.host(public),
		Affiliates: affiliates, Stats: stats, Previous: a.previous.Statuses, Pins: a.cfg.Memory.Pins(a.self.Subnet),
	}, now)
	report(conditionMemory, state.PinsFile, a.cfg.Memory.KeepPins(a.self.Subnet, plan.Pins))
	a.settle(plan, now)
	applyErr := a.apply(plan)
	subject := "device"
	if a.cfg.Firewall != nil && !a.routing.current {
		subject = "firewall"
	}
	report(conditionApply, subject, applyErr)
	conditions = append(conditions, a.routingConditions()...)
	a.publish(plan)

	report(state.ConditionClockNotRecorded, "clock", a.cfg.Clock.Tick(now))
	conditions = append(conditions, a.cfg.Clock.Conditions(now)...)
	conditions = append(conditions, a.fragmented()...)
	plan.Conditions = append(plan.Conditions, conditions...)

	a.failures++
	if prepared == nil && statsErr == nil && applyErr == nil {
		a.failures = 0
	}
	a.logChanges(plan)
	a.present(plan, affiliates, now)
	a.foresee(plan)
	a.previous = plan
	a.storeStatus(plan, now)
	return a.nextLook(plan, now)
}

// fragmented tells of hosts on whose way the tunnel's packets don't fit.
func (a *Agent) fragmented() []mesh.Condition {
	if a.device == nil {
		return nil
	}
	var conditions []mesh.Condition
	for _, host := range a.device.Fragmented() {
		conditions = append(conditions, mesh.Condition{
			Type: conditionMTU, Subject: host.String(),
			Message: "the route to this host takes no packets as large as the tunnel's: they are fragmented and sent one by one, which is slow; set a smaller kubespan.mtu on all nodes",
		})
	}
	return conditions
}

// nextLook is the tick, or less: a state boundary, or a retry.
func (a *Agent) nextLook(plan mesh.Plan, now time.Time) time.Duration {
	wait := max(a.nextFull.Sub(now), time.Millisecond)
	if !plan.Wake.IsZero() {
		wait = min(wait, max(plan.Wake.Sub(now), time.Millisecond))
	}
	if a.failures > 0 {
		wait = min(wait, retryInitial<<min(a.failures-1, 5))
	}
	return wait
}

// observe reads the host's links, unless nothing has changed. A failure keeps
// what was known.
func (a *Agent) observe() error {
	if a.links != nil {
		return nil
	}
	links, err := a.cfg.Host.Links()
	if err != nil {
		a.links = a.lastLinks
		return fmt.Errorf("looking at this host: %w", err)
	}
	underlay, err := a.cfg.Host.Underlay()
	if err != nil {
		a.links = a.lastLinks
		return fmt.Errorf("looking at this host: %w", err)
	}
	a.links, a.lastLinks, a.underlay = links, links, underlay
	a.cfg.Observed(links)
	if mtu := a.config.mesh(links).MTU; mtu != a.mtu {
		a.log.Info("tunnel MTU", "mtu", mtu, "configured", a.config.KubeSpan.MTU != 0)
		a.mtu = mtu
	}
	return nil
}

func (a *Agent) host(public []netip.Addr) mesh.Host {
	h := mesh.Host{
		Hostname: a.cfg.Hostname, OperatingSystem: a.cfg.OS,
		Links: a.links, PublicAddresses: public, Netstack: a.cfg.Backend.Netstack,
		Gateways: a.underlay.Gateways, DNSServers: a.underlay.DNSServers, DiscoveryServers: a.discoveryServers(), PeerDiscovery: a.config.Standalone(),
	}
	if a.config.Hostname != "" {
		h.Hostname = a.config.Hostname
	}
	h.Nodename = a.config.Nodename
	if h.Nodename == "" {
		h.Nodename, _ = mesh.Nodename(h.Hostname) // none: not a member, as without a hostname
	}
	if a.device != nil {
		h.ListenPort = a.device.ListenPort()
	}
	return h
}

// meshConfig is what decisions depend on, this process' part included.
func (a *Agent) meshConfig() mesh.Config {
	m := a.config.mesh(a.links)
	m.NoRouting = a.cfg.Firewall == nil
	return m
}

// discoveryServers are the addresses of services that no peer may draw into the
// tunnel.
func (a *Agent) discoveryServers() (list []netip.Addr) {
	for _, name := range a.registryNames() {
		list = append(list, a.registries[name].Snapshot().ServerAddr)
	}
	return list
}

// discovered merges what the registries know.
func (a *Agent) discovered() (affiliates []mesh.Affiliate, public []netip.Addr, problems []mesh.Condition) {
	var sets []discovery.Named
	for _, name := range a.registryNames() {
		snap := a.registries[name].Snapshot()
		sets = append(sets, discovery.Named{Name: "service/" + name, Affiliates: snap.Affiliates})
		a.answered = a.answered || snap.Connected
		if snap.PublicAddr.IsValid() {
			public = append(public, snap.PublicAddr)
		}
		for _, p := range snap.Problems {
			problems = append(problems, mesh.Condition{
				Type: conditionData, Subject: cmp.Or(p.AffiliateID, name),
				Message: "discovery service " + name + ": " + p.Reason,
			})
		}
	}
	return discovery.Merge(sets...), public, problems
}

// readStats keeps the last ones when reading fails: a peer that is missing
// counts as lost by the device.
func (a *Agent) readStats() ([]mesh.PeerStats, error) {
	if a.device == nil {
		a.stats = nil
		return nil, nil
	}
	stats, err := a.device.Stats()
	if err == nil {
		a.stats = stats
	}
	return a.stats, err
}

// applyDevice hands the plan to the device, if there is anything new in it.
func (a *Agent) applyDevice(plan mesh.Plan) error {
	if !a.configured {
		addr := netip.PrefixFrom(a.self.Address, a.self.Subnet.Bits())
		if err := a.device.Configure(a.mtu, []netip.Prefix{addr}); err != nil {
			return err
		}
		a.configured = true
	}
	if reflect.DeepEqual(a.applied, plan.Peers) {
		return nil
	}
	a.applied = nil
	if err := a.device.Apply(plan.Peers); err != nil {
		return err
	}
	a.applied = plan.Peers
	return nil
}

func (a *Agent) publish(plan mesh.Plan) {
	for _, r := range a.registries {
		r.Publish(discovery.Local{Affiliate: plan.Local, Others: plan.Endpoints})
	}
}

// logChanges logs what differs from the last plan, and nothing else.
func (a *Agent) logChanges(plan mesh.Plan) {
	was := map[mesh.Key]mesh.PeerStatus{}
	for _, s := range a.previous.Statuses {
		was[s.PublicKey] = s
	}
	for _, s := range plan.Statuses {
		old, known := was[s.PublicKey]
		delete(was, s.PublicKey)
		name := cmp.Or(s.Label, s.PublicKey.String())
		switch {
		case !known:
			a.log.Info("peer added", "peer", name, "publicKey", s.PublicKey)
		case old.State != s.State:
			a.log.Info("peer state changed", "peer", name, "from", old.State, "to", s.State, "endpoint", s.Endpoint)
		case old.LastUsedEndpoint != s.LastUsedEndpoint:
			a.log.Debug("peer endpoint changed", "peer", name, "endpoint", s.LastUsedEndpoint)
		}
	}
	for _, s := range a.previous.Statuses {
		if _, gone := was[s.PublicKey]; gone {
			a.log.Info("peer removed", "peer", cmp.Or(s.Label, s.PublicKey.String()), "publicKey", s.PublicKey)
		}
	}
	a.logConditions(plan.Conditions)
}

// logConditions logs each once, when it appears and when it goes, however its
// message may vary meanwhile.
func (a *Agent) logConditions(now []mesh.Condition) {
	type key struct {
		typ     mesh.ConditionType
		subject string
	}
	there := map[key]bool{}
	for _, c := range a.previous.Conditions {
		there[key{c.Type, c.Subject}] = false
	}
	for _, c := range now {
		k := key{c.Type, c.Subject}
		if _, known := there[k]; !known {
			a.log.Warn(c.Message, "condition", c.Type, "subject", c.Subject)
		}
		there[k] = true
	}
	for _, c := range a.previous.Conditions {
		if k := (key{c.Type, c.Subject}); !there[k] {
			there[k] = true
			a.log.Info("condition cleared", "condition", c.Type, "subject", c.Subject)
		}
	}
}
