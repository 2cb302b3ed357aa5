package agent

import (
	"cmp"
	"fmt"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

const (
	conditionApply  mesh.ConditionType = "ApplyFailed"
	conditionHost   mesh.ConditionType = "HostUnknown"
	conditionData   mesh.ConditionType = "DiscoveryData"
	conditionMTU    mesh.ConditionType = "UnderlayMTU"
	conditionMemory mesh.ConditionType = "StateNotWritten"

	conditionUnproven mesh.ConditionType = "IdentityUnproven"
)

// conditions collects the problems of a pass.
type conditions []mesh.Condition

func (cs *conditions) add(list []mesh.Condition) { *cs = append(*cs, list...) }

// report adds a condition for an error, if there is one.
func (cs *conditions) report(typ mesh.ConditionType, subject string, err error) {
	if err != nil {
		*cs = append(*cs, mesh.Condition{Type: typ, Subject: subject, Message: err.Error()})
	}
}

// reconcile is one pass: it looks at everything, decides, applies and shows. It
// returns how long the result holds if nothing happens.
func (a *Agent) reconcile(now time.Time) time.Duration {
	if a.schedule.begin(now) { // read and apply everything anew, which heals what others changed
		a.host.links, a.plane.configured, a.plane.peers, a.routing.current = nil, false, nil, false
	}
	var cs conditions
	cs.report(conditionHost, "links", a.observe())
	a.watchClones(now)
	prepared := a.prepare()
	cs.report(conditionApply, "device", prepared)
	a.followClock(now)
	a.probe()
	a.wishPorts()
	cs.add(a.syncRegistries())

	affiliates := a.discovered(now)
	cs.add(a.sources.problems)
	stats, statsErr := a.readStats()
	cs.report(conditionApply, "device", statsErr)

	rotation, err := a.rotation(now)
	cs.report(conditionMemory, state.RotationFile, err)
	plan := new(mesh.Plan)
	*plan = mesh.Decide(mesh.Input{
		Config: a.meshConfig(), Self: a.self, Host: a.describeHost(),
		Affiliates: affiliates, Removed: a.removed(), Stats: stats, Attempts: a.attempts(), Previous: a.previous.Statuses,
		Known: a.previous.Known, Pins: a.cfg.Memory.Pins(a.self.Subnet), Harvested: a.previous.Endpoints, Rotation: rotation, RelayNeed: a.previous.RelayNeed,
		StaticUnknown: a.sources.unknown,
	}, now)
	if a.cfg.Memory.SetPins(a.self.Subnet, plan.Pins) {
		a.pinning.note(now)
	}
	a.releaseRetained(plan, now)
	a.reportMesh(plan, affiliates)
	if a.onTrial(&plan.Local, now) {
		plan.Peers, plan.Specs, plan.Statuses, plan.Routes, plan.Wake = nil, nil, nil, nil, a.record.trial
	}
	applyErr := a.apply(plan)
	a.relay(plan)
	a.settle(now)
	cs.report(conditionMemory, state.PinsFile, a.pinning.err)
	a.remember(affiliates, now)
	cs.add(a.cacheConditions(plan, now))
	subject := "device"
	if a.cfg.Firewall != nil && !a.routing.current {
		subject = "firewall"
	}
	cs.report(conditionApply, subject, applyErr)
	if applyErr != nil {
		plan.Local.Record.Prepared = nil
	}
	cs.add(a.routingConditions())
	cs.report(conditionMemory, state.SequenceFile, a.publish(plan, now))
	a.redial()
	cs.report(conditionMemory, state.RotationFile, a.rotate(plan, now))
	cs.add(a.cloneConditions(now))
	cs.add(a.rotationConditions())
	cs.add(a.charterConditions(plan))

	cs.report(state.ConditionClockNotRecorded, "clock", a.cfg.Clock.Tick(now))
	cs.add(a.cfg.Clock.Conditions(now))
	cs.add(a.host.notes)
	cs.add(a.fragmented())
	cs.add(narrowPaths(plan, a.config.mtu(a.host.links)))
	cs.add(a.cfg.Memory.Damaged())
	cs.add(a.unproven(plan.Pins))
	cs.add(a.dropped(now))
	cs.add(a.returned(now))
	cs.add(a.relayConditions())
	if a.cfg.Services != nil {
		cs.add(a.cfg.Services.Conditions())
	}
	plan.Conditions = append(plan.Conditions, cs...)

	a.schedule.end(prepared == nil && statsErr == nil && applyErr == nil)
	a.logChanges(plan)
	a.paths = a.paths.show(plan.Statuses, a.steps.show)
	a.present(plan, affiliates, now)
	a.foresee(plan)
	a.nameNodes(plan)
	a.previous = plan
	a.storeStatus(plan, now)
	return a.schedule.next(plan.Wake, now)
}

// meshConfig returns what decisions depend on, this process' part included.
func (a *Agent) meshConfig() mesh.Config {
	m := a.config.mesh(a.host.links)
	m.NoRouting = a.cfg.Firewall == nil
	m.RequireSigned = a.config.Own
	m.Enabled = m.Enabled && !a.withdrawn()
	return m
}

// unproven returns a condition that names the nodes whose keys nothing vouches for: their
// records are not signed, and the pins of an earlier agent are lost.
func (a *Agent) unproven(pins []mesh.Pin) []mesh.Condition {
	if !a.cfg.Memory.IsDamaged(state.PinsFile) {
		return nil
	}
	var nodes []string
	for i := range pins {
		if p := &pins[i]; p.NodeID != a.self.NodeID && p.Sequence == 0 && !p.PublicKey.IsZero() {
			nodes = append(nodes, fmt.Sprintf("%s with %s", mesh.QuoteName(cmp.Or(p.Nodename, p.NodeID)), p.PublicKey))
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	return []mesh.Condition{{
		Type: conditionUnproven, Subject: state.PinsFile,
		Message: "these nodes sign nothing, and which keys they had is lost: compare the keys that they have now with those on the nodes: " + mesh.Listed(nodes, 8),
	}}
}
